"""Renders the pages of the desk: templates, languages, headers that let nothing in from elsewhere, small pictures."""

import gettext
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from rubrika.products.images import PictureError, PictureFolder, open_picture
from rubrika.products.product import display_path

HERE = Path(__file__).parent
LANGUAGES = {"en": "English", "ru": "Русский"}
SIDES, QUALITY = (112, 320, 960), 82
# No page loads anything from elsewhere, is framed, or runs what stands in it.
POLICY = "; ".join(
    (
        "default-src 'none'",
        *("script-src 'self'", "style-src 'self'", "img-src 'self' blob:", "connect-src 'self'", "form-action 'self'"),
        *("base-uri 'none'", "frame-ancestors 'none'"),
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC = {
    "desk.css": "text/css; charset=utf-8",
    "desk.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
NOTHING = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
YEAR = 365 * 24 * 3600  # seconds


def language_of(request: Request) -> str:
    """The language of a page: as chosen, else as the browser prefers, else English."""
    chosen = request.query_params.get("lang") or request.cookies.get("lang") or ""
    if chosen in LANGUAGES:
        return chosen
    for part in request.headers.get("accept-language", "").split(","):
        code = part.split(";")[0].strip()[:2].casefold()
        if code in LANGUAGES:
            return code
    return "en"


@lru_cache(maxsize=len(LANGUAGES))
def environment(language: str) -> Environment:
    """The templates in one language."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    spoken = translations(language)
    made.install_gettext_callables(spoken.gettext, spoken.ngettext, newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {
        "path": display_path,
        "percent": lambda share: "" if share is None else f"{share:.0%}",
        "count": lambda number: f"{number:,}".replace(",", "\N{NO-BREAK SPACE}" if language == "ru" else ","),
    }
    made.globals |= {"language": language, "languages": LANGUAGES}
    return made


@lru_cache(maxsize=len(LANGUAGES))
def translations(language: str) -> gettext.NullTranslations:
    """The texts of the pages in one language; English ones stand in the templates."""
    path = HERE / "locale" / f"{language}.po"
    if not path.exists():
        return gettext.NullTranslations()
    with path.open("rb") as file:
        catalogue = read_po(file, locale=language)
    compiled = BytesIO()
    write_mo(compiled, catalogue)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """A page, in the language of whoever asks, which a browser remembers where it was chosen."""
    language = language_of(request)
    shown = {"by": "", "asked": request.url.query, "status": status, **values}
    found = Response(
        environment(language).get_template(template).render(shown), status, HEADERS, "text/html; charset=utf-8"
    )
    if request.query_params.get("lang") == language:
        found.set_cookie("lang", language, max_age=YEAR, samesite="strict", httponly=True)
    return found


def translations_of(request: Request) -> gettext.NullTranslations:
    """The texts in the language of whoever asks."""
    return translations(language_of(request))


def no_picture() -> Response:
    """What stands where a product has no picture."""
    return Response(NOTHING, 200, HEADERS | {"Cache-Control": "private, max-age=600"}, "image/svg+xml")


def static(name: str) -> Response | None:
    """A file of the pages, None when there is none of this name."""
    if name not in STATIC:
        return None
    headers = HEADERS | {"Cache-Control": "no-cache"}
    return Response((HERE / "static" / name).read_bytes(), 200, headers, STATIC[name])


def found_picture(folders: Sequence[PictureFolder], id: int | str, name: str = "") -> Path | None:
    """The file of a product's picture in the first folder that has one."""
    for folder in folders:
        # A name may be anything, too long for a file, or lead where this user may not look.
        with suppress(OSError):
            path = folder.find(id, name)
            if isinstance(path, Path) and path.is_file():
                return path
    return None


def thumbnail(picture: Path | bytes, side: int) -> Response | None:
    """A picture at most so many pixels wide and high, as JPEG; None when it is none."""
    try:
        opened = open_picture(picture, side)
    except PictureError:
        return None
    content = BytesIO()
    opened.save(content, "JPEG", quality=QUALITY)
    headers: Mapping[str, str] = HEADERS | {"Cache-Control": "private, max-age=600"}
    return Response(content.getvalue(), 200, dict(headers), "image/jpeg")
