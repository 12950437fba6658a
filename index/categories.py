"""categories.json: the one name that an index has for each category id, also of categories without a product."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path

from rubrika.errors import IndexFolderError
from rubrika.files import read_bounded, write_in_one_step
from rubrika.index.folder import Index
from rubrika.index.location import CATEGORIES
from rubrika.products.row import label_of
from rubrika.products.table import number_in
from rubrika.products.text import RowError
from rubrika.store.base import Store

# Half a million categories are named in less.
MAX_BYTES = 64_000_000

# Full paths by id, ascending.
Names = dict[int, str]


def names_of(index: Index) -> Names:
    """The name of every category that an index knows.

    One that its products alone know, as in an index that is older than the file, is named as most of them say.
    """
    known = read_names(index.folder) or {}
    if missing := index.store.facet("category_id").keys() - known.keys():
        known |= _names_in(index.store, missing)
    return dict(sorted(known.items()))


def _names_in(store: Store, wanted: set[str | int]) -> Names:
    counts = defaultdict[int, Counter[str]](Counter)
    for point in chain.from_iterable(store.scroll(payload=["category_id", "category_path"])):
        category, path = point.payload.get("category_id"), point.payload.get("category_path")
        # Whoever else wrote into the store may have written anything.
        if category in wanted:
            with suppress(RowError):
                named = label_of(category, path)
                counts[named.id][named.path] += 1
    return {category: most_frequent(paths) for category, paths in counts.items()}


def most_frequent(names: Mapping[str, int]) -> str:
    """The name with the largest count; of equals the first by its text, whatever order they came in."""
    return min(names, key=lambda name: (-names[name], name))


def read_names(folder: Path) -> Names | None:
    """Read categories.json, None where there is none; IndexFolderError when it is damaged."""
    path = folder / CATEGORIES
    try:
        raw = json.loads(read_bounded(path, MAX_BYTES))
        labels = [label_of(number_in(id), name) for id, name in raw["names"].items()]
        return {label.id: label.path for label in labels}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, RowError) as error:
        advice = "restore it, or remove it: then its products say how the categories are called"
        raise IndexFolderError(f"{path}: no names of categories can be read ({error}); {advice}") from None


def write_names(folder: Path, names: Mapping[int, str]) -> None:
    """Replace categories.json, unless it says so already; refused when it could not be read again."""
    names = dict(sorted(names.items()))
    if names == read_names(folder):
        return
    text = json.dumps({"names": names}, ensure_ascii=False, indent=1) + "\n"
    if len(text.encode()) > MAX_BYTES:
        large = f"the names of {len(names):,} categories take more than {MAX_BYTES // 10**6} MB"
        raise IndexFolderError(f"{folder / CATEGORIES}: {large}; ingest files with fewer categories")
    write_in_one_step(folder / CATEGORIES, text)
