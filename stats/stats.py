"""What is in files of products: lengths, categories, scripts, pictures, and what is missing."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.hashing import MAX_CHARACTERS, features_of
from rubrika.errors import InputError
from rubrika.products.images import PictureError, PictureFolder, open_picture
from rubrika.products.product import Category, Product, text_hash
from rubrika.products.reader import Reader, empty_fields
from rubrika.progress import Advance, Progress, Silent
from rubrika.stats.duplicates import Groups, near_duplicates, numbered
from rubrika.stats.lengths import Numbers, Padding, Sketches, Spread, Tokens, padding_of, sketches_of

SCRIPTS = ("cyrillic", "latin", "other", "mixed", "none")
# A text is of one script when so much of its letters is.
MOSTLY = 0.9

_CYRILLIC, _LATIN, _OTHER, _MIXED, _NONE = range(5)
_LAST = 0xFFFF


def scripts_of(texts: Sequence[str]) -> NDArray[np.uint8]:
    """The script of each text, a place in SCRIPTS, uint8 (n,); `none` is a text without letters."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), np.uint32)
    kinds = _letters()[np.minimum(codes, _LAST)]
    owners = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
    counts = np.bincount(owners * len(SCRIPTS) + kinds, minlength=len(texts) * len(SCRIPTS))
    letters = counts.reshape(len(texts), len(SCRIPTS))[:, :_MIXED]
    total = letters.sum(axis=1)
    found = np.where(letters.max(axis=1) >= MOSTLY * total, letters.argmax(axis=1), _MIXED)
    return np.where(total == 0, _NONE, found).astype(np.uint8)


@lru_cache(maxsize=1)
def _letters() -> NDArray[np.uint8]:
    """The script of each character of the basic plane, by its name in Unicode."""
    names = {"CYRILLIC": _CYRILLIC, "LATIN": _LATIN}
    return np.array(
        [
            names.get(unicodedata.name(chr(code), "").partition(" ")[0], _OTHER) if chr(code).isalpha() else _NONE
            for code in range(_LAST + 1)
        ],
        np.uint8,
    )


# A category with fewer products than this is the tail: little can be learned of it.
TAIL_BELOW = 10
HEAD = 0.1
LISTED = 10


@dataclass(frozen=True, slots=True)
class Listed:
    """One category and how many products it has."""

    category_id: int
    category_name: str
    products: int


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of labelled products.

    Args:
        count: how many there are.
        sizes: products a category.
        singletons: categories of one product.
        tail: categories of fewer than TAIL_BELOW products.
        tail_products: the part of the products that is in the tail.
        head_products: the part of the products that is in the largest tenth of the categories.
        top: names at the top of the tree.
        depths: categories by the number of their levels, the shared root not counted.
        largest: the largest of them, ties by id.
    """

    count: int
    sizes: Spread
    singletons: int
    tail: int
    tail_products: float
    head_products: float
    top: int
    depths: dict[int, int]
    largest: list[Listed]

    @classmethod
    def of(cls, ids: Numbers, paths: Mapping[int, str]) -> "Categories":
        """Of the products' category ids (n,), at least one, and the path of each id."""
        known, sizes = np.unique(ids, return_counts=True)
        order = np.argsort(-sizes, kind="stable")
        levels = [Category(id, paths[id]).levels for id in known.tolist()]
        head = sizes[order][: -int(-HEAD * len(sizes) // 1)]
        return cls(
            count=len(known),
            sizes=Spread.doubling(sizes),
            singletons=int((sizes == 1).sum()),
            tail=int((sizes < TAIL_BELOW).sum()),
            tail_products=round(float(sizes[sizes < TAIL_BELOW].sum() / len(ids)), 4),
            head_products=round(float(head.sum() / len(ids)), 4),
            top=len({path[0] for path in levels}),
            depths=dict(sorted(Counter(map(len, levels)).items())),
            largest=[Listed(int(known[i]), paths[int(known[i])], int(sizes[i])) for i in order[:LISTED]],
        )


# Enough to see whether a picture is whole: a JPEG is decoded at an eighth, its end is read all the same.
SIDE = 32


@dataclass(frozen=True, slots=True)
class Pictures:
    """Products by their picture; `broken` says how many cannot be used, by reason."""

    usable: int
    missing: int
    broken: dict[str, int]


def look_at(folder: PictureFolder, ids: Iterable[int], advance: Advance = lambda steps: None) -> Pictures:
    """Open the picture of every product."""
    counts: Counter[str] = Counter()
    usable = missing = 0
    for id in ids:
        path = folder.find(id)
        if path is None:
            missing += 1
        else:
            try:
                open_picture(path, SIDE)
                usable += 1
            except PictureError as error:
                counts[str(error)] += 1
        advance(1)
    return Pictures(usable, missing, dict(sorted(counts.items())))


@dataclass(frozen=True, slots=True)
class Rows:
    """n products, 176 bytes each.

    Args:
        ids: product ids, uint64 (n,).
        characters: of their texts, int64 (n,).
        tokens: of their texts, uncut, int64 (n,).
        texts: hashes of their texts, uint64 (n,).
        sketches: of their texts, uint16 (n, PLACES).
        scripts: of their texts, places in SCRIPTS, uint8 (n,).
        groups: hashes of what they are grouped by, uint64 (n,).
        categories: their ids, int64 (n,), or nothing (0,) where nothing is labelled.
    """

    ids: NDArray[np.uint64]
    characters: Numbers
    tokens: Numbers
    texts: NDArray[np.uint64]
    sketches: Sketches
    scripts: NDArray[np.uint8]
    groups: NDArray[np.uint64]
    categories: Numbers

    def __len__(self) -> int:
        """How many products there are."""
        return len(self.ids)

    @classmethod
    def of(cls, products: Sequence[Product], tokens: Tokens) -> "Rows":
        """Of products, at least one."""
        texts = [product.text for product in products]
        # What a sketch sees of a text is what the learned encoder reads.
        features = features_of([text[:MAX_CHARACTERS] for text in texts])
        return cls(
            np.array([product.id for product in products], np.uint64),
            np.array([len(text) for text in texts], np.int64),
            tokens.count(texts, features),
            _hashed(texts),
            sketches_of(features),
            scripts_of(texts),
            _hashed([product.group for product in products]),
            np.array([product.category.id for product in products if product.category], np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Those of several batches, in order, at least one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def _hashed(texts: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([int(text_hash(text), 16) for text in texts], np.uint64)


# A reason may name the value it is about, so there may be as many as rows.
REASONS = 20


@dataclass(frozen=True, slots=True)
class Stats:
    """What is in files of products; shares are 0 … 1.

    Args:
        rows: good and bad.
        products: good rows.
        rejected: rows set aside by reason, the most frequent reasons.
        characters: of a text.
        beyond_learned: the share of texts longer than the learned encoder reads, of which it sees the beginning.
        encoder: whose tokens were counted.
        unit: what tokens are: `words` of the learned encoder, `tokens` of a transformer.
        tokens: of a text, uncut.
        truncated: the share of texts of more tokens than `padding.limit`.
        padding: of batches.
        scripts: products by the letters of their text.
        same_id: rows of the same product_id.
        same_text: rows of the same text.
        near_text: rows of the same or nearly the same text.
        groups: rows alike in the column that was asked for, if one was.
        categories: None when the files have no labels.
        empty: rows that leave a field empty.
        pictures: None when no folder was given.
    """

    rows: int
    products: int
    rejected: dict[str, int]
    characters: Spread
    beyond_learned: float
    encoder: str
    unit: str
    tokens: Spread
    truncated: float
    padding: Padding
    scripts: dict[str, int]
    same_id: Groups
    same_text: Groups
    near_text: Groups
    groups: Groups | None
    categories: Categories | None
    empty: dict[str, int]
    pictures: Pictures | None

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready to be written as JSON."""
        return asdict(self)


def measure(
    reader: Reader, tokens: Tokens, pictures: PictureFolder | None = None, progress: Progress | None = None
) -> Stats:
    """Say what is in the files of a reader; memory grows by some 200 bytes a product, whatever its text.

    Args:
        reader: of labelled products or not.
        tokens: counts them.
        pictures: of the products.
        progress: is told how far it is.

    Raises:
        InputError: a file cannot be read, or no row of them is a product.
    """
    progress = progress or Silent()
    parts, paths, rejected = [], dict[int, str](), Counter[str]()
    with progress.stage("reading texts", len(reader)) as advance:
        for batch in reader:
            rejected.update(reject.reason for reject in batch.rejects)
            if batch.products:
                parts.append(Rows.of(batch.products, tokens))
            paths.update({each.category.id: each.category.path for each in batch.products if each.category})
            advance(batch.rows)
    if not parts:
        raise InputError(f"{reader.files[0]}: no row of it is a product{_why(rejected)}; docs/data.md says what one is")
    rows = Rows.joined(parts)
    del parts
    with progress.stage("looking for empty fields", len(reader)) as advance:
        empty = empty_fields(reader, advance)
    seen = None
    if pictures is not None:
        with progress.stage("opening pictures", len(rows)) as advance:
            seen = look_at(pictures, rows.ids.tolist(), advance)
    categories = numbered(rows.categories) if reader.labelled else None
    return Stats(
        rows=len(rows) + rejected.total(),
        products=len(rows),
        rejected=dict(rejected.most_common(REASONS)),
        characters=Spread.of(rows.characters),
        beyond_learned=round(float((rows.characters > MAX_CHARACTERS).mean()), 4),
        encoder=tokens.encoder,
        unit=tokens.unit,
        tokens=Spread.of(rows.tokens),
        truncated=round(float((rows.tokens > tokens.limit).mean()), 4),
        padding=padding_of(rows.tokens, tokens.limit),
        scripts=dict(zip(SCRIPTS, np.bincount(rows.scripts, minlength=len(SCRIPTS)).tolist(), strict=True)),
        same_id=Groups.of(numbered(rows.ids), categories),
        same_text=Groups.of(numbered(rows.texts), categories),
        near_text=Groups.of(near_duplicates(rows.texts, rows.sketches), categories),
        groups=Groups.of(numbered(rows.groups), categories) if reader.group_by else None,
        categories=Categories.of(rows.categories, paths) if reader.labelled else None,
        empty=empty,
        pictures=seen,
    )


def _why(rejected: Counter[str]) -> str:
    return f" ({rejected.most_common(1)[0][0]})" if rejected else ""
