"""What runs of classification look like: figures that need no labels, kept run by run in a file of lines."""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval, Len
from numpy.typing import NDArray

from rubrika.encode.base import validated
from rubrika.errors import InputError
from rubrika.files import append_line, read_bounded
from rubrika.index.manifest import Manifest
from rubrika.retrieve.confidence import AUTO, NEW, REVIEW, Decisions
from rubrika.retrieve.guarantee import Policy
from rubrika.store.base import FloatArray

DECISIONS = (AUTO, REVIEW, NEW)
CONFIDENCE_BINS, SIMILARITY_BINS = 10, 20
# Similarities are counted so finely, for their median: memory does not grow with the products.
FINE = 1_000
# A hundred thousand runs are in less.
MAX_BYTES = 64_000_000

Count = Annotated[int, Interval(ge=0, le=2**53)]
Rate = Annotated[float, Interval(ge=0, le=1)]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """What predictions look like; histograms have bins of equal width from 0 to 1."""

    decisions: dict[str, Count]  # how many are `auto`, `review` and `new`
    confidence_histogram: Annotated[tuple[Count, ...], Len(CONFIDENCE_BINS, CONFIDENCE_BINS)]
    # Of the nearest hit by the main named vector; a product without a hit is not in it.
    similarity_histogram: Annotated[tuple[Count, ...], Len(SIMILARITY_BINS, SIMILARITY_BINS)]
    median_similarity: float | None  # of the same
    unseen_words: Rate | None  # the part of all words that the encoder has not learned from; None: not known

    @property
    def products(self) -> int:
        """How many products they are of."""
        return sum(self.decisions.get(name, 0) for name in DECISIONS)


class Tally:
    """Counts predictions, batch by batch."""

    def __init__(self) -> None:
        self._decisions, self._unseen, self._words = Counter[str](), 0, 0
        self._confidences, self._similarities = np.zeros(CONFIDENCE_BINS, np.int64), np.zeros(FINE, np.int64)

    def add(self, decided: Decisions, similarities: FloatArray, words: tuple[int, int] | None = None) -> None:
        """Add n predictions: the similarities (n,) of their nearest hits, and how many words of how many are unseen."""
        self._decisions.update(decided.decisions.tolist())
        self._confidences += _histogram(decided.confidences, CONFIDENCE_BINS)
        self._similarities += _histogram(similarities[np.isfinite(similarities)], FINE)
        unseen, all_words = words or (0, 0)
        self._unseen, self._words = self._unseen + unseen, self._words + all_words

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which another tally adds by `add_dict`."""
        parts = {name: np.asarray(getattr(self, name)).tolist() for name in ("_confidences", "_similarities")}
        return {"decisions": dict(self._decisions), "words": [self._unseen, self._words]} | parts

    def add_dict(self, other: dict[str, Any]) -> None:
        """Add what another tally has counted."""
        self._decisions.update(other["decisions"])
        self._unseen, self._words = self._unseen + other["words"][0], self._words + other["words"][1]
        self._confidences += np.array(other["_confidences"])
        self._similarities += np.array(other["_similarities"])

    def figures(self) -> Figures:
        """The figures of all that was added."""
        upto = np.cumsum(self._similarities)
        median = (float(np.searchsorted(upto, upto[-1] / 2)) + 0.5) / FINE if upto[-1] else None
        return Figures(
            {name: self._decisions[name] for name in DECISIONS},
            tuple(self._confidences.tolist()),
            tuple(self._similarities.reshape(SIMILARITY_BINS, -1).sum(axis=1).tolist()),
            median,
            round(self._unseen / self._words, 4) if self._words else None,
        )


def _histogram(values: FloatArray, bins: int) -> Counts:
    return np.bincount(np.clip((values * bins).astype(np.int64), 0, bins - 1), minlength=bins)


@dataclass(frozen=True)
class Run(Figures):
    """One run of classification, as a line of the file has it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "allow_inf_nan": False}

    time: str  # in UTC
    file: str  # of the products
    rows: Count
    rejected: Count
    max_error: Rate
    confidence: Rate
    new_rate: Rate
    index_products: Count | None  # how many the index had
    calibrated: str | None  # when it was

    @property
    def policy(self) -> Policy:
        """What its decisions promised."""
        return Policy(self.max_error, self.confidence, self.new_rate)


def append_run(path: Path, file: Path, figures: Figures, rejected: int, policy: Policy, index: Manifest) -> None:
    """Append a run to a file of runs, as one line; `file` has its products, of which some rows were rejected."""
    run = Run(
        **asdict(figures),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        file=str(file),
        rows=figures.products + rejected,
        rejected=rejected,
        max_error=policy.max_error,
        confidence=policy.certainty,
        new_rate=policy.new_rate,
        index_products=index.contents.products,
        calibrated=index.calibration.at,
    )
    # For whoever looks into the file: first when, and what.
    append_line(path, json.dumps({"time": run.time, "file": run.file} | asdict(run), ensure_ascii=False))


def read_runs(path: Path, index: Manifest, count: int) -> list[Run]:
    """The last `count` runs that can be compared: with the index as it is calibrated now, decided as the last one.

    InputError when there is none.
    """
    classify = f"`rubrika classify FILE --monitor {path}`"
    try:
        lines = read_bounded(path, MAX_BYTES).decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {classify} makes one") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); begin another file of runs") from None
    runs = list[Run]()
    for line in lines:
        # A process that was killed, or a full disk, may have left half a line.
        with suppress(ValueError):
            runs.append(validated(Run, line))
    at = index.calibration.at
    current = [run for run in runs if run.calibrated == at and run.products]
    if not current:
        what = f"no run since the index was calibrated ({at})" if runs else "no run of `rubrika classify`"
        raise InputError(f"{path}: {what}; {classify} adds one")
    return [run for run in current if run.policy == current[-1].policy][-count:]
