"""A shop for the review desk: the files of a marketplace, an index that may change, and what `classify` said of it."""

import time
from dataclasses import dataclass
from pathlib import Path

from rubrika.serve.reviews import DONE, FAILED, UNDOING, Reviews


@dataclass(frozen=True)
class Shop:
    """Where its files are; all but the marketplace are the test's own."""

    market: Path
    folder: Path

    @property
    def index(self) -> Path:
        return self.folder / "index"

    @property
    def details(self) -> Path:
        return self.folder / "details.parquet"

    @property
    def train(self) -> Path:
        return self.market / "train.parquet"

    @property
    def test(self) -> Path:
        return self.market / "test.parquet"

    @property
    def images(self) -> list[Path]:
        return [self.market / "images" / part for part in ("test", "train")]


def counted(reviews: Reviews) -> None:
    """Wait until every decision counts in the index."""
    for _ in range(300):
        if all(each.state in (DONE, FAILED) for each in reviews.decisions()) and not reviews.pending(UNDOING, 1):
            return
        time.sleep(0.1)
    raise AssertionError([each.state for each in reviews.decisions()])
