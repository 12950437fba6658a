"""Says how good the predictions are, on products held out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.eval.compare import Comparison, Setting
from rubrika.eval.heldout import HeldOut, Holdout, Samples, Timer, hold_out
from rubrika.eval.methods import ChosenOn, Method, Note, methods_of
from rubrika.eval.metrics import Hierarchy, SelectiveRisk, hierarchy_of, selective_risk_of
from rubrika.eval.split import Split
from rubrika.index.folder import Choice
from rubrika.index.manifest import MAX_ERROR, VoteSettings
from rubrika.metrics import Metrics, metrics_of, weighted_f1_interval
from rubrika.products.images import PictureFolder
from rubrika.products.reader import Reader
from rubrika.progress import Progress, Silent
from rubrika.retrieve.confidence import decide
from rubrika.retrieve.tree import Tree
from rubrika.store.base import FloatArray, Hits
from rubrika.store.connection import Connection
from rubrika.vote import Votes, fused_vote, mode_vote, vote_over


@dataclass(frozen=True, slots=True)
class Rules:
    """What a protocol prescribes: rows are drawn at random, whatever they have in common, and the plain mode votes.

    Args:
        name: of the protocol.
        holdout: the part of the rows held out.
        seed: chooses them.
        top_k: how many neighbours vote.
    """

    name: str
    holdout: float
    seed: int
    top_k: int


# The published figures of the KazanExpress task: of its 91,120 rows 10,000 held out, the mode of five neighbours.
PROTOCOLS = {"kazanexpress": Rules("kazanexpress", 10_000 / 91_120, 0, 5)}


SWEEP = 20


@dataclass(frozen=True, slots=True)
class Sweep:
    """Weighted F1 with `top_k` hits: by the plain mode and by the weighted vote."""

    top_k: int
    mode: float
    weighted: float


@dataclass(frozen=True)
class Answers:
    """What was predicted, product by product, for a report.

    Args:
        truth: true categories, int64 (n,).
        predicted: predicted categories, int64 (n,).
        confidences: of the predictions, float32 (n,).
        groups: rows with the same number belong together, int64 (n,).
        tree: of all categories.
        samples: the products.
    """

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidences: FloatArray
    groups: NDArray[np.int64]
    tree: Tree
    samples: Samples


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the predictions for the held-out rows are, and on which rows that was measured."""

    metrics: Metrics
    interval: tuple[float, float]
    hierarchy: Hierarchy
    selective_risk: SelectiveRisk
    rows: int
    classes: int
    split: Split
    top_k: int
    sweep: list[Sweep]
    seconds: dict[str, float]
    answers: Answers | None = None
    methods: tuple[Method, ...] = ()
    rehearsed: ChosenOn | None = None
    protocol: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values, under the names of the command line."""
        asked: dict[str, Any] = {"protocol": self.protocol} if self.protocol else {}
        if self.methods:
            asked["methods"] = [method.to_dict() for method in self.methods]
            asked["rehearsal"] = asdict(self.rehearsed) if self.rehearsed else None
        return asdict(self.metrics) | {
            "ci95": list(self.interval),
            "hierarchical_f1": self.hierarchy.f1,
            "level_accuracy": list(self.hierarchy.levels),
            "confidence": asdict(self.selective_risk),
            "rows": self.rows,
            "classes": self.classes,
            "split": {"how": self.split.how, "seed": self.split.seed, "hash": self.split.hash},
            "k": self.top_k,
            "sweep": [{"k": point.top_k, "mode": point.mode, "weighted": point.weighted} for point in self.sweep],
            "seconds": self.seconds,
            **asked,
        }


def evaluate(
    reader: Reader,
    *,
    cache: Path,
    pictures: PictureFolder | None = None,
    choice: Choice | None = None,
    holdout: float = 0.1,
    seed: int = 0,
    stratify: bool = False,
    top_k: int | None = None,
    max_error: float = MAX_ERROR,
    server: Connection | None = None,
    progress: Progress | None = None,
    sampled: int | None = None,
    timer: Timer | None = None,
    methods: Sequence[str] = (),
    rules: Rules | None = None,
    note: Note | None = None,
) -> Evaluation:
    """Hold rows out, learn from the others, and classify those held out through an index of its own.

    Args:
        reader: labelled products; when it has `group_by`, whole groups are held out.
        cache: a folder for vectors of pretrained encoders.
        pictures: where the products' pictures are, if anywhere.
        choice: the encoders and the vote to evaluate.
        holdout: the part held out, between 0 and 1.
        seed: chooses the rows, and the resamples of the interval.
        stratify: hold out the same part of every category.
        top_k: how many hits vote, by default what `ingest` would set.
        max_error: the part of automatic answers that may be wrong.
        server: where the index has its points meanwhile, in a collection of its own named after this one, when not in
            a folder.
        progress: where to show how far it is.
        sampled: for a report, of how many held-out products to keep the vector; None: no report, and no `answers`.
        timer: keeps what the stages take.
        methods: other methods to compare with, of `methods.NAMES`.
        rules: of somebody else's protocol, in place of `holdout`, `seed`, `stratify` and `top_k`, and of the vote.
        note: says what a person should know, such as which methods cannot be run here.

    Raises:
        InputError: a file cannot be read, or has too few good rows.
        StoreError: the server fails.
    """
    timer, progress = timer or Timer(), progress or Silent()
    if rules:
        holdout, seed, stratify, top_k = rules.holdout, rules.seed, False, rules.top_k
    setting = Setting(reader, cache, pictures, choice, seed, top_k, timer, progress, note or (lambda text: None))
    comparison = Comparison(methods, setting) if methods else None
    held = hold_out(
        reader,
        Holdout(holdout, seed, stratify),
        max(SWEEP, top_k or 0, VoteSettings().top_k),
        cache=cache,
        pictures=pictures,
        choice=choice,
        server=server,
        progress=progress,
        sampled=sampled,
        timer=timer,
        observer=comparison,
    )
    with timer.stage("vote and measure"):
        hits = held.first(top_k or held.vote.top_k)
        votes = _plain(hits, held.vote) if rules else vote_over(hits, held.vote)
        found = _measured(held, hits, votes, seed, max_error)
        ran = comparison.beside(votes.winners) if comparison else []
        compared = methods_of(ran, held.truth, held.groups, seed)
    rehearsed = comparison.rehearsed if comparison else None
    return replace(found, methods=compared, rehearsed=rehearsed, protocol=rules.name if rules else None)


def _measured(held: HeldOut, hits: Mapping[str, Hits], votes: Votes, seed: int, max_error: float) -> Evaluation:
    decided = decide(hits, votes, held.vote.weights, held.calibration, max_error)
    answers = None
    if held.samples:
        answers = Answers(held.truth, votes.winners, decided.confidences, held.groups, held.tree, held.samples)
    return Evaluation(
        metrics=metrics_of(held.truth, votes.winners),
        interval=weighted_f1_interval(held.truth, votes.winners, held.groups, seed),
        hierarchy=hierarchy_of(held.truth, votes.winners, held.tree),
        selective_risk=selective_risk_of(decided, votes.winners == held.truth, max_error),
        rows=len(held.truth),
        classes=held.classes,
        split=held.split,
        top_k=next(iter(hits.values())).ids.shape[1],
        sweep=[_sweep(held, n) for n in range(1, SWEEP + 1)],
        seconds=held.seconds,
        answers=answers,
    )


def _sweep(held: HeldOut, top_k: int) -> Sweep:
    hits = held.first(top_k)
    return Sweep(
        top_k,
        mode=metrics_of(held.truth, _plain(hits, held.vote).winners).weighted_f1,
        weighted=metrics_of(held.truth, vote_over(hits, held.vote).winners).weighted_f1,
    )


def _plain(hits: Mapping[str, Hits], vote: VoteSettings) -> Votes:
    """The mode of each vector's hits, for its weight."""
    return fused_vote([(mode_vote(found), vote.weights[name]) for name, found in hits.items()])
