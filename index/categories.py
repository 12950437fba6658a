"""categories.json: the one name that an index has for each category id, also of categories without a product."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from rubrika.errors import IndexFolderError
from rubrika.files import read_bounded, write_in_one_step
from rubrika.index.folder import Index
from rubrika.index.location import CATEGORIES
from rubrika.products.identity import MAX_PATH, MAX_SIGNED, Known, identity, label_of, path_label, whole
from rubrika.products.product import BETWEEN_LEVELS, Category
from rubrika.products.text import RowError
from rubrika.store.base import Store

# Half a million categories are named in less.
MAX_BYTES = 64_000_000

# Full paths by id, ascending; and what categories are called by their owners, where that is not the id, or on a card.
Names = dict[int, str]
Labels = dict[int, str]


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
    return _read(folder)[0]


def known_in(folder: Path) -> Known:
    """The categories that categories.json names, to be found by an id or a path alone."""
    names, labels = _read(folder)
    return Known.of(Category(id, path, labels.get(id, "")) for id, path in (names or {}).items())


@dataclass(frozen=True)
class Called:
    """Finds a category of an index by what somebody calls it."""

    labels: Mapping[str, int]  # ids by what owners call them
    known: Known
    separator: str | None  # what stands between the levels of a path

    @classmethod
    def of(cls, folder: Path, separator: str | None) -> "Called":
        """Of the index in a folder."""
        known = known_in(folder)
        return cls({it.key: it.id for it in known.by_id.values() if it.key}, known, separator)

    def number(self, category: object) -> int:
        """The id of a category called by its id, its label or its path; RowError when it can be none, or several."""
        number, text = identity("category_id", category, MAX_SIGNED)
        if not text or text in self.labels:
            return self.labels.get(text, number)
        return self.known.find(path_label(text, self.separator)).id


def read_labels(folder: Path) -> Labels:
    """What their owner calls the categories whose number is not their name."""
    return _read(folder)[1]


def _read(folder: Path) -> tuple[Names | None, Labels]:
    path = folder / CATEGORIES
    try:
        names, labels = _parsed(read_bounded(path, MAX_BYTES))
        return dict(names), dict(labels)
    except FileNotFoundError:
        return None, {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, RowError) as error:
        advice = "restore it, or remove it: then its products say how the categories are called"
        raise IndexFolderError(f"{path}: no names of categories can be read ({error}); {advice}") from None


# A service reads the file with every request, so as to see what others changed; the same bytes are read once.
@lru_cache(maxsize=2)
def _parsed(content: bytes) -> tuple[Names, Labels]:
    raw = json.loads(content)
    names = raw["names"].items()
    found = [label_of(whole("category_id", _number(id), MAX_SIGNED), name) for id, name in names]
    labels = {int(id): str(label)[:MAX_PATH] for id, label in raw.get("labels", {}).items()}
    return {each.id: each.path for each in found}, labels


def _number(id: str) -> int | str:
    return int(id) if id.isascii() and id.isdecimal() else id


def unique_labels(names: Names) -> Labels:
    """What each category is called where all are side by side: the shortest end of its path that no other one has.

    «Кроссовки» of two parents are «Женщинам › Кроссовки» and «Мужчинам › Кроссовки»; of equal paths the id tells.
    """
    ends = {id: _ends(path) for id, path in names.items()}
    counts = Counter(chain.from_iterable(ends.values()))
    paths = Counter(each[-1] for each in ends.values())
    return {
        id: next((end for end in each if counts[end] == 1), each[-1] if paths[each[-1]] == 1 else f"{each[-1]} ({id})")
        for id, each in ends.items()
    }


def _ends(path: str) -> list[str]:
    """All ends of a category's path for people, the shortest first."""
    levels = Category(0, path).levels or [path]
    return [BETWEEN_LEVELS.join(levels[start:]) for start in reversed(range(len(levels)))]


def write_names(folder: Path, names: Mapping[int, str], labels: Labels | None = None) -> None:
    """Replace categories.json, unless it says so already; refused when it could not be read again.

    `labels` are added to those that are there.
    """
    known, called = _read(folder)
    names, labels = dict(sorted(names.items())), {**called, **(labels or {})}
    labels = {id: labels[id] for id in sorted(labels.keys() & names.keys())}
    if (names, labels) == (known, called):
        return
    text = json.dumps({"names": names} | ({"labels": labels} if labels else {}), ensure_ascii=False, indent=1) + "\n"
    if len(text.encode()) > MAX_BYTES:
        large = f"the names of {len(names):,} categories take more than {MAX_BYTES // 10**6} MB"
        raise IndexFolderError(f"{folder / CATEGORIES}: {large}; ingest files with fewer categories")
    write_in_one_step(folder / CATEGORIES, text)
