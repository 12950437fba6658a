"""Builds the one text that an encoder sees: title, description as plain text, attributes, nothing twice."""

import re
from collections.abc import Iterator

MAX_TEXT = 20_000
MAX_HTML = 1_000_000
# Wrongly nested tags take a parser time that grows with the square of their number.
MAX_TAGS = 4_000
_LONGEST_LINE = 200

# Control, bidirectional, zero-width and tag marks change how a text looks, not what it says; a lone surrogate says
# nothing.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
# A tag ends where the next one starts at the latest, and few spaces begin it: else unclosed tags would be read again
# and again.
_BREAKS = re.compile(r"<[\s/]{0,3}(?:br|p|li|ul|ol|div|tr|td|th|h[1-6])\b[^<>]*(?:>|(?=<))", re.IGNORECASE)


def one_line(text: str) -> str:
    """The words of a text, up to `MAX_HTML` characters of it, on one line and without marks that cannot be seen."""
    text = text[:MAX_HTML]
    # All of _UNPRINTABLE is unprintable to Python too, which tells so much faster.
    return " ".join((text if text.isprintable() else _UNPRINTABLE.sub("", text)).split())


def shortened(text: str, length: int) -> str:
    """At most `length` characters of a text, the last of them an ellipsis when there were more."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def first_line(text: str) -> str:
    """The first line of what a library or a file says, fit for a message: a damaged one can say anything."""
    return shortened(one_line((text.splitlines() or [""])[0]), _LONGEST_LINE).rstrip(".")


def product_title(fields: dict[str, object]) -> str:
    """The title as one clean line, empty when there is none."""
    return one_line(_scalar(fields.get("title")))


def product_text(fields: dict[str, object]) -> str:
    """Everything worth reading, one fact a line, at most `MAX_TEXT` characters; a line said before is left out."""
    seen: set[str] = set()
    lines: list[str] = []
    length = 0
    for line in _facts(fields):
        key = line.casefold()
        if line and key not in seen:
            seen.add(key)
            lines.append(line)
            length += len(line) + 1
        if length > MAX_TEXT:
            break
    return "\n".join(lines)[:MAX_TEXT].rstrip()


def plain_text(html: str) -> str:
    """HTML to the words a reader would see: entities resolved, breaks as spaces, pictures and scripts dropped."""
    html = "<".join(html[:MAX_HTML].split("<", MAX_TAGS)[:MAX_TAGS])
    if "<" not in html and "&" not in html:
        return one_line(html)
    # Imported here: only products with marked-up texts need a parser.
    from selectolax.lexbor import LexborHTMLParser

    # Surrogates go first: the parser takes only what UTF-8 can hold.
    tree = LexborHTMLParser(_BREAKS.sub(" ", _UNPRINTABLE.sub("", html)))
    tree.strip_tags(["script", "style", "head", "img"])
    body = tree.body
    return one_line(body.text() if body is not None else "")


def _facts(fields: dict[str, object]) -> Iterator[str]:
    yield product_title(fields)
    yield plain_text(_scalar(fields.get("description")))
    for part in ("attributes", "custom_characteristics", "defined_characteristics", "filters"):
        value = fields.get(part)
        if isinstance(value, dict):
            said = ((name, joined(inner)) for name, inner in value.items())
            yield from (one_line(f"{name}: {words}") for name, words in said if words)
        elif isinstance(value, list | tuple):
            yield from (plain_text(joined(item)) for item in value)
        else:
            yield plain_text(_scalar(value))


def joined(value: object) -> str:
    """A list as a person would write it; nested values are flattened, their depth being capped by the parser."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {joined(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple | set):
        words = filter(None, map(joined, value))
        # A set has another order in every process.
        return ", ".join(sorted(words) if isinstance(value, set) else words)
    return _scalar(value)


def _scalar(value: object) -> str:
    """A single value as text; NaN, alone in not being equal to itself, is an empty place."""
    return "" if value is None or value != value or isinstance(value, dict | list | tuple | set) else str(value)
