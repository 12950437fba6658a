"""Reads a `text_fields` cell, JSON or Python literal, without trusting it: size and nesting are capped."""

import ast
import json
import re
import warnings
from contextlib import suppress

MAX_CHARACTERS = 32_000_000
MAX_STRUCTURE = 200_000
MAX_DEPTH = 16

# A string of either notation, possibly left open, so that brackets inside product texts are not counted.
_STRING = re.compile(r"'(?:[^'\\]|\\.)*+'?|\"(?:[^\"\\]|\\.)*+\"?", re.DOTALL)
_BRACKETS = "[{("
_JSON = json.JSONDecoder(strict=False)
# What a string leaves in the skeleton of a cell.
_HOLE = '"'
# All that a literal of dictionaries, lists, strings and numbers needs between its strings.
_LITERAL = re.compile(r"(?:[\[\]{}(),:\s\d.+\"-]|[eE]|True|False|None|nan|inf)*")
# What pandas writes for an empty place, though no literal holds it.
_NAN = re.compile(r"nan|inf")
# Three quotes would open a string that ends elsewhere than `_STRING` thinks, and hide operators from `_LITERAL`.
_REFUSED = re.compile(r"[+-]\s*[+-]|\"\"")


class FieldsError(ValueError):
    """A cell that is not a dictionary in either notation; its message completes «text_fields …»."""


def parse_fields(raw: object) -> dict[str, object]:
    """Turn one cell into a dictionary.

    Args:
        raw: the cell: a string in JSON or as a Python literal.

    Raises:
        FieldsError: the cell is empty, too large, too deep, or neither notation.
    """
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        raise FieldsError("is empty")
    if not isinstance(raw, str):
        raise _no_dictionary(raw)
    if len(raw) > MAX_CHARACTERS:
        raise FieldsError(f"has {len(raw):,} characters, more than the {MAX_CHARACTERS:,} that are read")
    # Most cells are too short and too flat to look closer.
    if len(raw) > MAX_STRUCTURE or sum(map(raw.count, _BRACKETS)) > MAX_DEPTH:
        _check_structure(_STRING.sub(_HOLE, raw))
    fields = _load(raw)
    if not isinstance(fields, dict):
        raise _no_dictionary(fields)
    return {str(key): value for key, value in fields.items()}


def _no_dictionary(found: object) -> FieldsError:
    return FieldsError(f"is a {type(found).__name__}, not a dictionary with a title")


def _check_structure(skeleton: str) -> None:
    if len(skeleton) > MAX_STRUCTURE:
        raise FieldsError("holds too many values")
    depth = 0
    for mark in re.findall(r"[\[\]{}()]", skeleton):
        depth += 1 if mark in _BRACKETS else -1
        if depth > MAX_DEPTH:
            raise FieldsError(f"is nested deeper than {MAX_DEPTH} levels")


def _load(raw: str) -> object:
    with suppress(ValueError, RecursionError):
        return _JSON.decode(raw)
    # A literal with single quotes alone and nothing escaped is JSON but for these; reading it so is ten times quicker.
    if '"' not in raw and "\\" not in raw:
        with suppress(ValueError, RecursionError):
            return _JSON.decode(raw.replace("'", '"'))
    skeleton = _STRING.sub(_HOLE, raw)
    # literal_eval builds only data, but deep chains of operators can exhaust its parser: so only a literal's own marks.
    if not _LITERAL.fullmatch(skeleton) or _REFUSED.search(skeleton):
        raise FieldsError("is neither JSON nor a Python literal")
    try:
        with warnings.catch_warnings():
            # Python warns of spellings such as "\\d", which its parser then reads as they stand.
            warnings.simplefilter("ignore")
            tree = ast.parse(raw.strip(), mode="eval")
        return ast.literal_eval(_Emptied().visit(tree) if _NAN.search(skeleton) else tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise FieldsError("is neither JSON nor a Python literal") from error


class _Emptied(ast.NodeTransformer):
    """Puts None where the names nan and inf stand."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(None) if _NAN.fullmatch(node.id) else node
