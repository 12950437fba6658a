"""Reads files of products once for their texts and once for their empty fields, and says what is in them."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rubrika.encode.features import MAX_CHARACTERS
from rubrika.errors import InputError
from rubrika.products.empty import empty_fields
from rubrika.products.parquet import Reader
from rubrika.products.pictures import PictureFolder
from rubrika.progress import Progress, Silent
from rubrika.stats.categories import Categories
from rubrika.stats.groups import Groups, near_duplicates, numbered
from rubrika.stats.lengths import Spread
from rubrika.stats.padding import Padding, padding_of
from rubrika.stats.pictures import Pictures, look_at
from rubrika.stats.rows import Rows
from rubrika.stats.scripts import SCRIPTS
from rubrika.stats.tokens import Tokens

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

    def as_dict(self) -> dict[str, Any]:
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
