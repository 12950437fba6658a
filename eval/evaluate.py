"""Measures how good the predictions are, on products held out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from rubrika.errors import ParameterError
from rubrika.eval import metrics as figures
from rubrika.eval.heldout import Samples, Setting, hold_out
from rubrika.eval.methods import Comparison, MethodResult, ValidationSplit
from rubrika.index.manifest import VoteSettings
from rubrika.products.split import IntArray, Split
from rubrika.retrieve.confidence import Decisions, decide
from rubrika.retrieve.guarantee import DEFAULT, Policy, advice
from rubrika.retrieve.tree import Tree
from rubrika.store.base import FloatArray

SWEEP = 20
# The figures that can be bounded from below: more of each is better, or shows that more was measured. By their names in
# JSON; those of `confidence` lie in it.
NUMBERS = (
    *(each.name for each in fields(figures.Metrics)),
    *("hierarchical_f1", "confidence.auto", "confidence.coverage"),
    *("rows", "classes", "k"),
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What a protocol prescribes: rows are drawn at random, whatever they have in common, and the plain mode votes."""

    name: str
    holdout: float  # the part of the rows held out
    seed: int  # chooses them
    top_k: int  # how many neighbours vote


# The published figures of the KazanExpress task: of its 91,120 rows 10,000 held out, the mode of five neighbours.
PROTOCOLS = {"kazanexpress": Rules("kazanexpress", 10_000 / 91_120, 0, 5)}


def rules_of(protocol: str | None) -> Rules | None:
    """How another study measured; ParameterError when it is not known."""
    if protocol is not None and protocol not in PROTOCOLS:
        raise ParameterError(f"`protocol` is {' or '.join(PROTOCOLS)}, not {protocol}")
    return PROTOCOLS[protocol] if protocol else None


@dataclass(frozen=True, slots=True)
class Sweep:
    """Weighted F1 with `top_k` hits: by the plain mode and by the weighted vote."""

    top_k: int
    mode: float
    weighted: float


@dataclass(frozen=True)
class Answers:
    """What was predicted for n held-out products, for a report."""

    truth: IntArray  # (n,)
    predicted: IntArray  # (n,)
    confidences: FloatArray  # of the predictions, (n,)
    groups: IntArray  # rows with the same number belong together, (n,)
    tree: Tree  # of all categories
    samples: Samples  # the products


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good predictions are, and on which rows that was measured: held out, or asked of a live index."""

    metrics: figures.Metrics
    interval: figures.Interval
    hierarchy: figures.Hierarchy
    selective_risk: figures.SelectiveRisk
    rows: int
    classes: int
    split: Split
    top_k: int
    sweep: list[Sweep]  # none for a live index, whose vote is settled
    seconds: dict[str, float]
    answers: Answers | None = None
    methods: tuple[MethodResult, ...] = ()
    validation: ValidationSplit | None = None
    protocol: str | None = None
    stored: int | None = None  # how many of the products a live index has; None: the index was made for this
    advice: str | None = None  # why nothing is automatic, and what would change that

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values, under the names of the command line."""
        sweep = [{"k": point.top_k, "mode": point.mode, "weighted": point.weighted} for point in self.sweep]
        extra: dict[str, Any] = {"sweep": sweep} if self.stored is None else {"stored": self.stored}
        extra |= {"protocol": self.protocol} if self.protocol else {}
        if self.methods:
            extra["methods"] = [method.to_dict() for method in self.methods]
            extra["rehearsal"] = asdict(self.validation) if self.validation else None
        return asdict(self.metrics) | {
            "ci95": list(self.interval),
            "hierarchical_f1": self.hierarchy.f1,
            "level_accuracy": list(self.hierarchy.levels),
            "confidence": asdict(self.selective_risk),
            "rows": self.rows,
            "classes": self.classes,
            "split": {"how": self.split.how, "seed": self.split.seed, "hash": self.split.hash},
            "k": self.top_k,
            "advice": self.advice,
            "seconds": self.seconds,
            **extra,
        }

    def below(self, bounds: Mapping[str, float]) -> str | None:
        """Which of these figures, by their NUMBERS, are below their bounds; None: none of them."""
        found = self.to_dict()
        values = found | {f"confidence.{name}": value for name, value in found["confidence"].items()}
        missed = [name for name, bound in bounds.items() if values[name] < bound]
        return "; ".join(f"{name} is {values[name]:.6g}, below {bounds[name]:g}" for name in missed) or None


def measured(
    truth: IntArray, predicted: IntArray, decided: Decisions, groups: IntArray, tree: Tree, policy: Policy, seed: int
) -> dict[str, Any]:
    """The figures of n predictions, under their names in Evaluation; the seed is of the interval."""
    return {
        "metrics": figures.metrics_of(truth, predicted),
        "interval": figures.weighted_f1_interval(truth, predicted, groups, seed),
        "hierarchy": figures.hierarchy_of(truth, predicted, tree),
        "selective_risk": figures.selective_risk_of(decided, predicted == truth, policy.max_error),
        "rows": len(truth),
    }


def evaluate(
    setting: Setting,
    top_k: int | None = None,
    policy: Policy = DEFAULT,
    sampled: int | None = None,
    methods: Sequence[str] = (),
    rules: Rules | None = None,
) -> Evaluation:
    """Hold rows out, learn from the others, and classify the held-out ones through a temporary index.

    The setting's seed is also of the intervals. `top_k` neighbours vote, by default as many as `ingest` would set. For
    a report, the vectors of `sampled` held-out products are kept; without it there are no `answers`. The `methods` to
    compare with are of `methods.NAMES`; `rules` take the place of `top_k`, the vote, and how rows are held out.
    """
    if rules:
        setting = replace(setting, holdout=rules.holdout, seed=rules.seed, stratify=False)
        top_k = rules.top_k
    comparison = Comparison(methods, setting, top_k) if methods else None
    held = hold_out(setting, max(SWEEP, top_k or 0, VoteSettings().top_k), sampled, comparison)
    with setting.timer.stage("vote and measure"):
        k = top_k or held.vote.top_k
        hits = held.first(k)
        votes = held.plain_votes(k) if rules else held.votes(replace(held.vote, top_k=k))
        truth, predicted = held.truth, votes.winners
        decided = decide(hits, votes, held.vote.weights, held.calibration, policy)
        own = truth, predicted, decided.confidences, held.groups, held.tree
        answers = Answers(*own, held.samples) if held.samples else None

        def sweep(count: int) -> Sweep:
            both = held.plain_votes(count), held.votes(replace(held.vote, top_k=count))
            return Sweep(count, *(figures.metrics_of(truth, each.winners).weighted_f1 for each in both))

        return Evaluation(
            **measured(truth, predicted, decided, held.groups, held.tree, policy, setting.seed),
            classes=held.classes,
            split=held.split,
            top_k=next(iter(hits.values())).ids.shape[1],
            sweep=[sweep(n) for n in range(1, SWEEP + 1)],
            seconds=setting.timer.seconds,
            answers=answers,
            advice=advice(held.calibration, policy),
            methods=comparison.results(truth, predicted, held.groups) if comparison else (),
            validation=comparison.validation if comparison else None,
            protocol=rules.name if rules else None,
        )
