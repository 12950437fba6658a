"""What a comparison says: every method's figures on the same held-out products, and what it cost."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import Baseline, BaselineError, need
from rubrika.baselines.fasttext import FastText
from rubrika.baselines.network import Epoch, Network
from rubrika.baselines.svm import LinearSvm
from rubrika.baselines.tfidf import TfidfNeighbours
from rubrika.errors import RubrikaError
from rubrika.index.manifest import IMAGE, JOINT, TEXT
from rubrika.metrics import metrics_of, paired_difference, weighted_f1_interval

KNN, LINEAR, MLP, ENSEMBLE = "knn", "linear", "mlp", "ensemble"
TFIDF_KNN, TFIDF_SVM, FASTTEXT = "tfidf-knn", "tfidf-svm", "fasttext"
NAMES = (KNN, LINEAR, MLP, TFIDF_KNN, TFIDF_SVM, FASTTEXT, ENSEMBLE)
ALL = "all"
_SKLEARN = ("sklearn", "scikit-learn")
_PACKAGES = {TFIDF_KNN: _SKLEARN, TFIDF_SVM: _SKLEARN, FASTTEXT: ("fasttext", "fastText")}
_NETWORKS = {LINEAR: "linear heads", MLP: "MLPs"}
HIDDEN = 512
RUBRIKA = "Rubrika"
PRODUCTS = 10_000

SECONDS = (
    "Seconds to train are those of all that a method needs: where it looks at vectors or neighbours, learning the "
    "encoders and ingesting count too; where something was chosen for it, so does choosing. Seconds to predict include "
    "encoding; a vector of a pretrained encoder that was in the cache cost nothing."
)

Interval = tuple[float, float]
Note = Callable[[str], None]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChosenOn:
    """What was chosen, and where.

    Args:
        learned_from: how many products of the training part methods learned from for that.
        chosen_on: on how many others of it they were measured.
        tuned: for which methods something was chosen: of `linear`, `mlp` and `ensemble`.
        encoders: whether encoders were learned from those products too.
    """

    learned_from: int
    chosen_on: int
    tuned: tuple[str, ...]
    encoders: bool

    def said(self) -> str:
        """As a sentence."""
        networks = " and ".join(called for name, called in _NETWORKS.items() if name in self.tuned)
        what = [f"epochs of {networks}"] if networks else []
        what += ["weights of the ensemble"] if ENSEMBLE in self.tuned else []
        return (
            f"The {', and the '.join(what)}{',' if len(what) > 1 else ''} were chosen on {self.chosen_on:,} products "
            f"of the training part, everything having been learned from {self.learned_from:,} others of it"
            f"{', encoders too' if self.encoders else ''}; no method has seen a held-out product."
        )


@dataclass(frozen=True, slots=True)
class Ran:
    """A method that was run.

    Args:
        name: what it is called.
        predicted: of the held-out products, int64 (n,).
        train_seconds: to learn all that it needs.
        predict_seconds: for all held-out products.
        curve: of an MLP, while its epochs were being chosen.
    """

    name: str
    predicted: Labels
    train_seconds: float
    predict_seconds: float
    curve: tuple[Epoch, ...] = ()


@dataclass(frozen=True, slots=True)
class Method:
    """A way to predict, measured on the held-out products.

    Args:
        name: what it is called.
        weighted_f1: of all held-out products.
        interval: of it, 95 %.
        macro_f1: of the same.
        difference: the 95 % paired interval of Rubrika's weighted F1 minus this one's; None for Rubrika itself.
        train_seconds: to learn all that it needs.
        seconds_per_10k: to predict ten thousand products.
        curve: of an MLP, epoch by epoch, on products of the training part that were kept apart.
    """

    name: str
    weighted_f1: float
    interval: Interval
    macro_f1: float
    difference: Interval | None = None
    train_seconds: float = 0.0
    seconds_per_10k: float = 0.0
    curve: tuple[Epoch, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values, under the names of the command line."""
        found = asdict(self)
        return found | {"ci95": list(found.pop("interval"))}


def chosen_methods(said: str) -> tuple[str, ...]:
    """The methods that a comma-separated list names, `all` being all of them; an ensemble alone gets members.

    Raises:
        RubrikaError: one is unknown.
    """
    names = [name.strip() for name in said.split(",") if name.strip()]
    unknown = [name for name in names if name not in (*NAMES, ALL)]
    if unknown or not names:
        raise RubrikaError(f"no method {', '.join(unknown) or 'is named'}; there are {', '.join(NAMES)}, and {ALL}")
    if ALL in names:
        return NAMES
    if names == [ENSEMBLE]:
        names += [KNN, LINEAR, MLP]
    return tuple(name for name in NAMES if name in names)


def runnable(names: Sequence[str], note: Note) -> tuple[str, ...]:
    """The methods whose packages are installed; of the others it is said that they are left out."""
    found = []
    for name in names:
        try:
            need(*_PACKAGES.get(name, ("numpy", "numpy")))
            found.append(name)
        except BaselineError as error:
            note(f"{name} is left out: {error}")
    return tuple(found)


def baselines_of(names: Collection[str], vectors: Collection[str], seed: int) -> list[Baseline]:
    """What is to be fitted for some methods, where products have these vectors."""
    inputs = [own for own in ((TEXT,), (TEXT, IMAGE), (JOINT,)) if set(own) <= set(vectors)]
    found: list[Baseline] = []
    if LINEAR in names:
        found += [Network(f"linear head on {' + '.join(own)}", own, seed=seed) for own in inputs]
    if MLP in names:
        found += [Network(f"MLP on {' + '.join(own)}", own, HIDDEN, seed=seed) for own in inputs if JOINT not in own]
    whole: dict[str, Baseline] = {
        TFIDF_KNN: TfidfNeighbours(),
        TFIDF_SVM: LinearSvm(seed=seed),
        FASTTEXT: FastText(seed=seed),
    }
    return found + [baseline for name, baseline in whole.items() if name in names]


def methods_of(ran: Sequence[Ran], truth: Labels, groups: Labels, seed: int) -> tuple[Method, ...]:
    """The figures of methods, of which the first is Rubrika.

    Args:
        ran: what each has predicted.
        truth: true categories (n,).
        groups: rows with the same number belong together (n,).
        seed: of the intervals' resamples.
    """
    return tuple(_method(each, ran[0], truth, groups, seed) for each in ran)


def _method(ran: Ran, own: Ran, truth: Labels, groups: Labels, seed: int) -> Method:
    metrics = metrics_of(truth, ran.predicted)
    return Method(
        ran.name,
        metrics.weighted_f1,
        weighted_f1_interval(truth, ran.predicted, groups, seed),
        metrics.macro_f1,
        None if ran is own else paired_difference(truth, own.predicted, ran.predicted, groups, seed),
        round(ran.train_seconds, 1),
        round(ran.predict_seconds / len(truth) * PRODUCTS, 1),
        ran.curve,
    )
