"""How far the last runs of classification are from the calibration set, and what that asks for.

It is measured by the population stability index of the shares p of now and q of then, the sum of (p - q) · ln(p / q)
over the bins of a figure (Siddiqi, "Credit Risk Scorecards", 2006): above 0.1 it has moved, above 0.25 much. Of few
products it is large by chance alone: about (1/n + 1/m) · χ², with a degree of freedom less than there are bins
(Yurdakul, "Statistical Properties of Population Stability Index", 2018).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import IndexFolderError
from rubrika.index.folder import Index
from rubrika.products.text import one_line
from rubrika.retrieve.calibration import CalibrationSet
from rubrika.retrieve.confidence import decide, nearest
from rubrika.retrieve.guarantee import Policy
from rubrika.retrieve.monitor import DECISIONS, Figures, Run, Tally, read_runs
from rubrika.vote import vote_over

RUNS = 7  # so many are compared: a week of nights
MODERATE, LARGE = 0.1, 0.25
CERTAINTY = 0.95
CONFIDENCE, SIMILARITY, WORDS, AUTOMATIC = "confidence", "similarity", "unseen words", "automatic"
# What moves down when products become harder; unseen words move up.
FALLING = (CONFIDENCE, SIMILARITY, AUTOMATIC)

Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the shares of one figure have moved."""

    figure: str
    then: float  # its mean in the calibration set
    now: float
    psi: float
    chance: float  # what that stays below in 95 of 100 samples when nothing has moved
    moved: Literal["no", "moderately", "much"]


@dataclass(frozen=True, slots=True)
class Drift:
    """The last runs beside the calibration set."""

    runs: int
    products: int
    since: str  # when the first of them was
    calibration: Figures
    recent: Figures
    shifts: tuple[Shift, ...]
    advice: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `rubrika info --drift FILE --json` prints them."""
        return asdict(self)


def drift_of(index: Index, file: Path, count: int = RUNS) -> Drift:
    """Compare the last `count` runs of a file with the calibration set of their index, decided by the same policy."""
    found, calibration = CalibrationSet.load(index.encoder_files), index.manifest.calibration
    if found is None or not calibration.rows:
        raise IndexFolderError(f"{index.folder}: has no calibration to compare with; run `rubrika learn`")
    runs = read_runs(file, index.manifest, count)
    then, now = expected(index, found, runs[-1].policy), pooled(runs)
    before, after, products = _distributions(then), _distributions(now), now.products
    # Near duplicates tell no more than one of them.
    noise = 1 / calibration.groups + 1 / products
    shifts = tuple(_shift(name, before[name], after[name], noise) for name in before if name in after)
    return Drift(len(runs), products, one_line(runs[0].time), then, now, shifts, advice(shifts))


def expected(index: Index, found: CalibrationSet, policy: Policy) -> Figures:
    """The figures of the calibration set of an index."""
    vote, tally = index.manifest.vote, Tally()
    hits = {name: found.hits[name].first(vote.top_k) for name in vote.weights}
    votes = vote_over(found.voting(vote), vote)
    tally.add(decide(hits, votes, vote.weights, index.manifest.calibration, policy), nearest(hits))
    unseen = next((config.unseen_words for config in index.learned.values()), None)
    return replace(tally.figures(), unseen_words=unseen)


def pooled(runs: Sequence[Run]) -> Figures:
    """The figures of several runs together; the median and the rate are means over their products."""

    def mean(values: list[float | None]) -> float | None:
        known = [(value, run.products) for value, run in zip(values, runs, strict=True) if value is not None]
        total = sum(size for _, size in known)
        return round(sum(value * size for value, size in known) / total, 4) if known else None

    return Figures(
        {name: sum(run.decisions.get(name, 0) for run in runs) for name in DECISIONS},
        tuple(map(sum, zip(*(run.confidence_histogram for run in runs), strict=True))),
        tuple(map(sum, zip(*(run.similarity_histogram for run in runs), strict=True))),
        mean([run.median_similarity for run in runs]),
        mean([run.unseen_words for run in runs]),
    )


def stability(then: Counts, now: Counts) -> float:
    """The population stability index of counts in the same bins; half a product more in each, so that none is empty.

    >>> round(stability(np.array([500.0, 500]), np.array([600.0, 400])), 3)
    0.04
    """
    q, p = ((counts + 0.5) / (counts + 0.5).sum() for counts in (then, now))
    return float(((p - q) * np.log(p / q)).sum())


def advice(shifts: Sequence[Shift]) -> tuple[str, ...]:
    """What to do about the figures that have moved."""
    moved = {shift.figure for shift in shifts if shift.moved != "no"}
    harder = {shift.figure for shift in shifts if (shift.now < shift.then) == (shift.figure in FALLING)} & moved
    if not moved:
        return (f"nothing has moved by more than {MODERATE}; nothing need be done",)
    if not harder:
        return ("these products are more like those stored than others were; nothing need be done",)
    measure = "label some of these, and measure with `rubrika evaluate FILE --index INDEX`"
    said = [f"what is promised of automatic decisions was measured on other products: {measure}"]
    if harder & {SIMILARITY, AUTOMATIC, CONFIDENCE}:
        said.append("fewer products are like those stored: label some that are `new` or for `review`, and ingest them")
    if WORDS in harder:
        said.append("many words are not known to the encoder: ingest products that have them, then run `rubrika learn`")
    return tuple(said)


def _distributions(figures: Figures) -> dict[str, tuple[Counts, float]]:
    """Of each figure that is known, how many products are in its bins, and its mean."""
    decided = np.array([figures.decisions[name] for name in DECISIONS], float)
    found = {AUTOMATIC: (decided, float(decided[0] / decided.sum()))}
    histograms = {CONFIDENCE: figures.confidence_histogram, SIMILARITY: figures.similarity_histogram}
    for name, histogram in histograms.items():
        counts = np.array(histogram, float)
        middles = (np.arange(len(counts)) + 0.5) / len(counts)
        found[name] = counts, float(counts @ middles / max(counts.sum(), 1))
    if (rate := figures.unseen_words) is not None:
        found[WORDS] = decided.sum() * np.array([rate, 1 - rate]), rate
    return found


def _shift(name: str, then: tuple[Counts, float], now: tuple[Counts, float], noise: float) -> Shift:
    from scipy.special import chdtri

    psi, chance = stability(then[0], now[0]), noise * float(chdtri(len(then[0]) - 1, 1 - CERTAINTY))
    moved: Literal["no", "moderately", "much"] = "moderately" if psi > max(MODERATE, chance) else "no"
    if moved != "no" and psi > LARGE:
        moved = "much"
    return Shift(name, round(then[1], 4), round(now[1], 4), round(psi, 4), round(chance, 4), moved)
