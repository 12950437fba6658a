"""Measures a fine-tuning: what is held out, what its neighbours vote for, and the history as JSON and as a curve."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rubrika.encode.base import FloatArray
from rubrika.errors import EncoderError

IntArray = NDArray[np.int64]

HISTORY, CURVE = "history.json", "curve.svg"
# Of the vote: a neighbour whose cosine is 0.05 lower than the nearest's counts a twentieth.
NEIGHBOURS, TEMPERATURE = 10, 60.0


def hold_out(groups: Sequence[str], part: float, seed: int) -> NDArray[np.bool_]:
    """Choose about a part of the products to measure on: whole groups, a product without one being its own."""
    names = [f"group {group}" if group else f"row {row}" for row, group in enumerate(groups)]
    _, code, size = np.unique(np.asarray(names, object).astype(str), return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(size))
    count = max(int(np.searchsorted(np.cumsum(size[order]), part * len(groups), side="right")), 1)
    if count >= len(size):
        raise EncoderError(f"holding out {part:g} of {len(groups)} products leaves none to learn from; give more")
    return np.isin(code, order[:count])


def nearest_categories(known: FloatArray, labels: IntArray, queries: FloatArray) -> IntArray:
    """The category that the nearest known vectors vote for by exp(TEMPERATURE · cosine), for each query."""
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(
        min(NEIGHBOURS, len(known)),
        weights=lambda distances: np.exp(-TEMPERATURE * (distances - distances.min(axis=1, keepdims=True))),
        algorithm="brute",
        metric="cosine",
    )
    with warnings.catch_warnings():
        # scikit-learn wonders at many categories of few products.
        warnings.filterwarnings("ignore", message="The number of unique classes", category=UserWarning)
        return np.asarray(model.fit(known, labels).predict(queries))


def weighted_f1(truth: IntArray, predicted: IntArray) -> float:
    """F1 averaged over the true categories by their size."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, predicted, average="weighted", zero_division=0))


@dataclass(frozen=True, slots=True)
class Moment:
    """A measurement: after which step and time, the mean training loss since the last, held-out weighted F1."""

    step: int
    seconds: float
    loss: float
    f1: float


def write_history(folder: Path, history: Sequence[Moment]) -> None:
    """Write `history.json` and `curve.svg`: weighted F1 (left scale) and training loss (right scale) over steps."""
    import matplotlib
    from matplotlib.figure import Figure

    figures = [asdict(moment) for moment in history]
    (folder / HISTORY).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    best, steps = max(history, key=lambda moment: moment.f1), [moment.step for moment in history]
    with matplotlib.rc_context({"svg.hashsalt": "rubrika", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.2, 3), layout="constrained")
        left = figure.subplots()
        left.plot(steps, [moment.f1 for moment in history], "o-", color="#0969da", markersize=3, gid="f1")
        left.set(xlabel="step", ylim=(0, 1), title=f"Held-out weighted F1: {best.f1:.3f} at step {best.step}")
        left.set_ylabel("weighted F1", color="#0969da")
        right = left.twinx()
        right.plot(steps, [moment.loss for moment in history], "--", color="#bc4c00", gid="loss")
        right.set_ylim(bottom=0)
        right.set_ylabel("training loss", color="#bc4c00")
        # Without date and version, the same history gives the same bytes.
        figure.savefig(folder / CURVE, format="svg", metadata={"Date": None, "Creator": None})
