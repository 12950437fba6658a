"""Writes elements of HTML and SVG; every text is escaped unless it is markup already."""

import re
from collections.abc import Iterable
from html import escape

# What XML 1.0 does not allow in any form: browsers would show it as they like, and readers of SVG refuse the file.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, *inside: str, **attributes: str | float | None) -> Markup:
    """One element.

    Args:
        name: of the element.
        inside: what it holds, in order; nothing at all makes it an empty element, `<circle/>`.
        attributes: a trailing underscore is dropped (`class_`), others become hyphens; None leaves an attribute out.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{said}>{joined(inside)}</{name}>" if inside else f"<{name}{said}/>")


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after the other, those escaped that are not markup."""
    return Markup("".join(part if isinstance(part, Markup) else _text(part) for part in parts))


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("", text))


def _number(value: str | float) -> str:
    """A tenth of a pixel is as near as anybody sees."""
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
