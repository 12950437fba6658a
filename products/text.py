"""Parses the fields of a product, which may hold anything, and makes one text of them."""

import ast
import json
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import suppress

MAX_CHARACTERS, MAX_STRUCTURE, MAX_DEPTH = 32_000_000, 200_000, 16

# A string of either notation, possibly left open, so that brackets inside product texts are not counted.
_STRING = re.compile(r"'(?:[^'\\]|\\.)*+'?|\"(?:[^\"\\]|\\.)*+\"?", re.DOTALL)
_BRACKETS = "[{("
_JSON = json.JSONDecoder(strict=False)
# Under this name, what further columns say beside the fields.
COLUMNS = "\0columns"
# Stands for every string in the skeleton of a cell.
_HOLE = '"'
# All that a literal of dictionaries, lists and numbers may have between its strings.
_LITERAL = re.compile(
    r"(?:[\[\]{}(),:\s\d.+\"-]|[eE]|True|False|None|nan|inf|0[xX][0-9a-fA-F]+|(?<=\d)_(?=\d)|[uU](?=\"))*"
)
# Strings, and what pandas writes for an empty cell, though it is no literal.
_NAN = re.compile(rf"{_STRING.pattern}|(nan|inf)", re.DOTALL)
# Three quotes open a string that ends elsewhere than `_STRING` expects, and would hide operators from `_LITERAL`.
_REFUSED = re.compile(r"[+-]\s*[+-]|\"\"")
_BRAND, _LONGEST_BRAND = re.compile(r"^(?:бренд|торговая марка|brand)\s*:\s*(.+)", re.IGNORECASE | re.MULTILINE), 100


class RowError(ValueError):
    """Why one row cannot be used."""


def parse_fields(raw: object) -> dict[str, object]:
    """Turn one cell, a string in JSON or as a Python literal, into a dictionary."""
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        raise RowError("text_fields is empty")
    if not isinstance(raw, str):
        raise _not_a_dictionary(raw)
    if len(raw) > MAX_CHARACTERS:
        raise RowError(f"text_fields has {len(raw):,} characters, more than the {MAX_CHARACTERS:,} that are read")
    # Most cells are so short and flat that no closer look is needed.
    if len(raw) > MAX_STRUCTURE or sum(map(raw.count, _BRACKETS)) > MAX_DEPTH:
        _check_structure(_STRING.sub(_HOLE, raw))
    fields = _load(raw)
    if not isinstance(fields, dict):
        raise _not_a_dictionary(fields)
    return {str(key): value for key, value in fields.items()}


def _not_a_dictionary(value: object) -> RowError:
    return RowError(f"text_fields is a {type(value).__name__}, not a dictionary with a title")


def _check_structure(skeleton: str) -> None:
    if len(skeleton) > MAX_STRUCTURE:
        raise RowError("text_fields holds too many values")
    depth = 0
    for mark in re.findall(r"[\[\]{}()]", skeleton):
        depth += 1 if mark in _BRACKETS else -1
        if depth > MAX_DEPTH:
            raise RowError(f"text_fields is nested deeper than {MAX_DEPTH} levels")


def _load(raw: str) -> object:
    with suppress(ValueError, RecursionError):
        return _JSON.decode(raw)
    # A literal with single quotes only and no escapes is JSON but for the quotes; parsing it so is ten times quicker.
    if '"' not in raw and "\\" not in raw:
        with suppress(ValueError, RecursionError):
            return _JSON.decode(raw.replace("'", '"'))
    skeleton = _STRING.sub(_HOLE, raw)
    # literal_eval builds only data, but long chains of operators can exhaust its parser: only a literal's marks pass.
    if not _LITERAL.fullmatch(skeleton) or _REFUSED.search(skeleton):
        raise RowError("text_fields is neither JSON nor a Python literal")
    try:
        with warnings.catch_warnings():
            # Python warns of escapes such as "\\d", which its parser keeps as they are.
            warnings.simplefilter("ignore")
            return ast.literal_eval(_NAN.sub(lambda match: "None" if match[1] else match[0], raw.strip()))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise RowError("text_fields is neither JSON nor a Python literal") from error


MAX_TEXT, MAX_HTML = 20_000, 1_000_000
# Wrongly nested tags cost a parser time that grows with the square of their number.
MAX_TAGS = 4_000
_LONGEST_LINE = 200

# Control, bidirectional, zero-width and tag characters, which change how a text looks, not its words; lone surrogates.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
# A tag ends where the next one starts at the latest, and few spaces begin it, or unclosed tags would be scanned again
# and again.
_BREAKS = re.compile(r"<[\s/]{0,3}(?:br|p|li|ul|ol|div|tr|td|th|h[1-6])\b[^<>]*(?:>|(?=<))", re.IGNORECASE)


def one_line(text: str) -> str:
    """The first `MAX_HTML` characters of a text on one line, without characters that cannot be seen."""
    text = text[:MAX_HTML]
    # As macOS writes it, «й» is two characters, and its word another word.
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    # All of _UNPRINTABLE is unprintable to Python too, whose check is much faster.
    return " ".join((text if text.isprintable() else _UNPRINTABLE.sub("", text)).split())


def shortened(text: str, length: int) -> str:
    """At most `length` characters of a text, the last of them an ellipsis if it was longer."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def first_line(text: str) -> str:
    """The first line of a text from a library or a file, made fit for a message: it may hold anything."""
    return shortened(one_line((text.splitlines() or [""])[0]), _LONGEST_LINE).rstrip(".")


def product_title(fields: dict[str, object]) -> str:
    """The title as one clean line, empty when there is none."""
    return plain_text(_scalar(fields.get("title")))


def product_text(fields: dict[str, object]) -> str:
    """Everything worth reading, one fact a line, at most `MAX_TEXT` characters; repeated lines are left out."""
    lines, length = dict[str, str](), 0
    for line in filter(None, _facts(fields)):
        if line.casefold() not in lines:
            lines[line.casefold()] = line
            length += len(line) + 1
        if length > MAX_TEXT:
            break
    return "\n".join(lines.values())[:MAX_TEXT].rstrip()


def brand_of(text: str) -> str:
    """The brand that a product's text names, as in a line `Бренд: Bosch`; empty when it names none."""
    found = _BRAND.search(text)
    return shortened(found[1].strip(), _LONGEST_BRAND) if found else ""


def plain_text(html: str) -> str:
    """The text of HTML that a reader would see: entities resolved, breaks as spaces, pictures and scripts dropped."""
    if "<" not in html and "&" not in html:
        return one_line(html) if html else ""
    html = "<".join(html[:MAX_HTML].split("<", MAX_TAGS)[:MAX_TAGS])
    # Imported here: only products with HTML need a parser.
    from selectolax.lexbor import LexborHTMLParser

    # Surrogates go first: the parser takes only what UTF-8 can hold.
    tree = LexborHTMLParser(_BREAKS.sub(" ", _UNPRINTABLE.sub("", html)))
    tree.strip_tags(["script", "style", "head", "img"])
    body = tree.body
    return one_line(body.text() if body is not None else "")


def _facts(fields: dict[str, object]) -> Iterator[str]:
    yield product_title(fields)
    yield plain_text(_scalar(fields.get("description")))
    for part in ("attributes", "custom_characteristics", "defined_characteristics", "filters", COLUMNS):
        value = fields.get(part)
        if isinstance(value, dict):
            named = ((name, joined(inner)) for name, inner in value.items())
            yield from (plain_text(f"{name}: {words}") for name, words in named if words)
        elif isinstance(value, list | tuple):
            yield from (plain_text(joined(item)) for item in value)
        else:
            yield plain_text(_scalar(value))


def joined(value: object) -> str:
    """A list as a person would write it, nested values flattened; the parser caps their depth."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {joined(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple | set):
        words = filter(None, map(joined, value))
        # A set has another order in every process.
        return ", ".join(sorted(words) if isinstance(value, set) else words)
    return _scalar(value)


def _scalar(value: object) -> str:
    """A single value as text; NaN, which is not equal to itself, is empty."""
    return "" if value is None or value != value or isinstance(value, dict | list | tuple | set) else str(value)
