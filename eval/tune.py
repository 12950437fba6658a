"""Chooses how an index votes and measures how far it can be relied on, on products held out from labelled ones.

What is chosen is chosen on one half of them, and its worth reported on the other, which had no part in the choice.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import InputError
from rubrika.eval.heldout import HeldOut, Holdout, hold_out
from rubrika.eval.metrics import SelectiveRisk, selective_risk_of
from rubrika.index.folder import Choice
from rubrika.index.manifest import MAX_ERROR, Calibration, VoteSettings
from rubrika.metrics import Metrics, metrics_of
from rubrika.products.images import PictureFolder
from rubrika.products.reader import Reader
from rubrika.progress import Progress, Silent
from rubrika.retrieve.confidence import MIN_ROWS, decide, evidence, fit, nearest
from rubrika.store.base import Hits
from rubrika.vote import Votes, fused_vote, mode_vote, vote_over

TOP_KS = (3, 5, 7, 10, 15, 20, 30)
TEMPERATURES = (20.0, 30.0, 40.0, 60.0, 80.0)
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
# The choice must be better by so much than what needs no tuning: less is chance.
GAIN = 0.001

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Part:
    """One way to vote, and how good it is on the half that had no part in the choice."""

    name: str
    metrics: Metrics


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was chosen, what each part of it is worth, and how far its confidences can be relied on."""

    vote: VoteSettings
    calibration: Calibration
    parts: list[Part]
    selective_risk: SelectiveRisk
    chosen_on: int
    measured_on: int

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values."""
        return {
            "vote": self.vote.to_dict(),
            "parts": [{"name": part.name, **asdict(part.metrics)} for part in self.parts],
            "confidence": asdict(self.selective_risk),
            "chosen_on": self.chosen_on,
            "measured_on": self.measured_on,
        }


def tune(
    reader: Reader,
    choice: Choice,
    *,
    cache: Path,
    pictures: PictureFolder | None = None,
    holdout: float = 0.1,
    seed: int = 0,
    max_error: float = MAX_ERROR,
    progress: Progress | None = None,
) -> Tuned:
    """Tune the vote and calibrate it.

    Args:
        reader: labelled products; when it has `group_by`, whole groups are held out.
        choice: the encoders and the vote of the index.
        cache: a folder for vectors of pretrained encoders.
        pictures: where the products' pictures are, if anywhere.
        holdout: the part held out.
        seed: chooses the rows.
        max_error: the part of automatic answers that may be wrong, for the report.
        progress: where to show how far it is.

    Raises:
        InputError: too few products can be held out.
    """
    held = hold_out(
        reader,
        Holdout(holdout, seed),
        max(TOP_KS),
        cache=cache,
        pictures=pictures,
        choice=choice,
        server=None,
        progress=progress or Silent(),
    )
    first = held.groups % 2 == 0
    if min(first.sum(), (~first).sum()) < MIN_ROWS:
        raise InputError(
            f"{reader.files[0]}: {len(first)} products can be held out, and tuning needs {MIN_ROWS} for each of its "
            f"two halves; give more products, or a larger --holdout"
        )
    vote = _choose(held, first)
    selective_risk = _selective_risk(held, vote, first, max_error)
    return Tuned(
        vote=vote,
        # What was measured of a calibration on one half holds the more for one on both.
        calibration=_calibration(held, vote, np.ones_like(first)),
        parts=[Part(name, _metrics(held, votes, ~first)) for name, votes in _parts(held, vote)],
        selective_risk=selective_risk,
        chosen_on=int(first.sum()),
        measured_on=int((~first).sum()),
    )


def _choose(held: HeldOut, chosen: Mask) -> VoteSettings:
    """The settings with the best weighted F1; those that need no tuning, unless others are better by GAIN."""
    best, best_f1 = held.vote, _metrics(held, _votes(held, held.vote), chosen).weighted_f1 + GAIN
    for weights, top_k, temperature in product(_weights(held.vote.weights), TOP_KS, TEMPERATURES):
        settings = VoteSettings(weights, top_k, temperature)
        f1 = _metrics(held, _votes(held, settings), chosen).weighted_f1
        if f1 > best_f1:
            best, best_f1 = settings, f1
    return best


def _weights(now: Mapping[str, float]) -> list[dict[str, float]]:
    if len(now) == 1:
        return [dict(now)]
    one, other = now
    return [{one: round(1 - share, 2), other: share} for share in SHARES]


def _parts(held: HeldOut, vote: VoteSettings) -> Iterator[tuple[str, Votes]]:
    """What each part of the vote is worth: from the nearest neighbour alone to what was chosen."""
    usual = VoteSettings(held.vote.weights)
    yield "the nearest neighbour", _votes(held, replace(usual, top_k=1))
    hits = held.first(usual.top_k)
    yield f"mode of {usual.top_k}", fused_vote([(mode_vote(hits[name]), usual.weights[name]) for name in hits])
    for name in held.hits if len(held.hits) > 1 else ():
        yield f"weighted vote of {usual.top_k} by {name} alone", vote_over({name: hits[name]}, usual)
    yield f"weighted vote of {usual.top_k}, untuned", _votes(held, held.vote)
    yield "weighted vote, tuned", _votes(held, vote)


def _votes(held: HeldOut, vote: VoteSettings) -> Votes:
    return vote_over(held.first(vote.top_k), vote)


def _metrics(held: HeldOut, votes: Votes, rows: Mask) -> Metrics:
    return metrics_of(held.truth[rows], votes.winners[rows])


def _calibration(held: HeldOut, vote: VoteSettings, rows: Mask) -> Calibration:
    hits, votes = held.first(vote.top_k), _votes(held, vote)
    both = evidence(hits, votes, vote.weights)
    return fit(both[rows], (votes.winners == held.truth)[rows], nearest(hits)[rows])


def _selective_risk(held: HeldOut, vote: VoteSettings, fitted: Mask, max_error: float) -> SelectiveRisk:
    """Calibrate on some rows and measure on the others."""
    rest = ~fitted
    hits: dict[str, Hits] = {name: found.rows(rest) for name, found in held.first(vote.top_k).items()}
    votes = vote_over(hits, vote)
    decided = decide(hits, votes, vote.weights, _calibration(held, vote, fitted), max_error)
    return selective_risk_of(decided, votes.winners == held.truth[rest], max_error)
