"""Chooses how an index votes and calibrates its confidences, on products held out from labelled ones.

Settings are chosen on one half of them, and measured on the other, which had no part in the choice.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

from rubrika.errors import InputError
from rubrika.eval.heldout import HeldOut, Setting, hold_out
from rubrika.eval.metrics import Metrics, SelectiveRisk, metrics_of, selective_risk_of
from rubrika.index.manifest import Calibration, Manifest, VoteSettings
from rubrika.products.split import Mask
from rubrika.retrieve.calibration import CalibrationSet
from rubrika.retrieve.confidence import MIN_ROWS, decide
from rubrika.retrieve.guarantee import DEFAULT, Policy
from rubrika.retrieve.tree import Tree
from rubrika.vote import Votes, vote_over

TOP_KS = (3, 5, 7, 10, 15, 20, 30)
TEMPERATURES = (20.0, 30.0, 40.0, 60.0, 80.0)
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
GAIN = 0.001  # tuned settings must be better than the untuned ones by this much: less is chance


@dataclass(frozen=True, slots=True)
class Part:
    """One way to vote, and its figures on the half that had no part in the choice."""

    name: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Tuned:
    """The chosen vote, the figures of each part of the vote, and how far confidences can be trusted."""

    vote: VoteSettings
    asked: CalibrationSet  # the products that it was chosen and measured on
    tree: Tree
    parts: list[Part]
    selective_risk: SelectiveRisk
    chosen_on: int
    measured_on: int
    advice: str | None = None  # why nothing would be automatic, and what would change that

    def voting(self, manifest: Manifest) -> Manifest:
        """An index that votes so."""
        chosen = {name: getattr(self.vote, name) for name in ("weights", "top_k", "temperature")}
        return replace(manifest, vote=replace(manifest.vote, **chosen))

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {
            "vote": self.vote.to_dict(),
            "parts": [{"name": part.name, **asdict(part.metrics)} for part in self.parts],
            "confidence": asdict(self.selective_risk),
            "chosen_on": self.chosen_on,
            "measured_on": self.measured_on,
            "advice": self.advice,
        }


def tune(setting: Setting, current: VoteSettings, policy: Policy = DEFAULT) -> Tuned:
    """Tune the vote of an index that has this one now; `policy` is for the report."""
    held = hold_out(setting, max(TOP_KS), calibrated=False)
    # How far unseen categories reach was measured when the index was made, and is not chosen here.
    usual = replace(held.vote, unseen_reach=current.unseen_reach, name_reach=current.name_reach)
    held = replace(held, vote=usual)
    first = held.groups % 2 == 0
    if min(first.sum(), (~first).sum()) < MIN_ROWS:
        raise InputError(
            f"{setting.reader.files[0]}: {len(first)} products can be held out, and tuning needs {MIN_ROWS} for each "
            "of its two halves; give more products, or a larger `holdout`"
        )
    vote = _choose(held, first)
    asked = held.asked()
    calibration = asked.rows(first).fitted(vote, held.tree, Calibration())
    hits = {name: each.rows(~first) for name, each in held.first(vote.top_k).items()}
    votes = vote_over(asked.rows(~first).voting(vote), vote)
    decided = decide(hits, votes, vote.weights, calibration, policy)
    return Tuned(
        vote=vote,
        asked=asked,
        tree=held.tree,
        parts=[Part(name, _metrics(held, each, ~first)) for name, each in _parts(held, vote)],
        selective_risk=selective_risk_of(decided, votes.winners == held.truth[~first], policy.max_error),
        chosen_on=int(first.sum()),
        measured_on=int((~first).sum()),
    )


def _choose(held: HeldOut, rows: Mask) -> VoteSettings:
    """The settings with the best weighted F1; the untuned ones, unless others are better by GAIN."""
    best, best_f1 = held.vote, _metrics(held, held.votes(held.vote), rows).weighted_f1 + GAIN
    names = list(held.vote.weights)
    # Weights of two vectors are shares; a single one keeps its own.
    pairs = [dict(zip(names, (round(1 - share, 2), share), strict=True)) for share in SHARES if len(names) > 1]
    for weights, top_k, temperature in product(pairs or [dict(held.vote.weights)], TOP_KS, TEMPERATURES):
        settings = replace(held.vote, weights=weights, top_k=top_k, temperature=temperature)
        f1 = _metrics(held, held.votes(settings), rows).weighted_f1
        if f1 > best_f1:
            best, best_f1 = settings, f1
    return best


def _parts(held: HeldOut, vote: VoteSettings) -> Iterator[tuple[str, Votes]]:
    """The parts of the vote: from the nearest neighbour alone to the chosen settings."""
    usual, hits = held.vote, held.first(held.vote.top_k)
    yield "the nearest neighbour", held.votes(replace(usual, top_k=1))
    yield f"mode of {usual.top_k}", held.plain_votes(usual.top_k)
    for name in held.hits if len(held.hits) > 1 else ():
        yield f"weighted vote of {usual.top_k} by {name} alone", vote_over({name: hits[name]}, usual)
    yield f"weighted vote of {usual.top_k}, untuned", held.votes(usual)
    yield "weighted vote, tuned", held.votes(vote)


def _metrics(held: HeldOut, votes: Votes, rows: Mask) -> Metrics:
    return metrics_of(held.truth[rows], votes.winners[rows])
