"""Runs methods one after the other, each learning and predicting with an eye on the clock."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rubrika.baselines.baseline import Baseline
from rubrika.baselines.ensemble import Ensemble
from rubrika.baselines.nearest import Nearest
from rubrika.baselines.network import Epoch, Network
from rubrika.eval.gather import Gathered
from rubrika.eval.methods import ENSEMBLE, LINEAR, MLP, Ran
from rubrika.eval.rehearsal import Rehearsal
from rubrika.progress import Progress
from rubrika.store.base import Hits
from rubrika.vote import Votes, fused_vote, mode_vote, weighted_vote

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a method has come to.

    Args:
        name: what it is called.
        vectors: that it looks at.
        votes: for the held-out products, having learned from all others.
        train_seconds: that this learning took, from vectors on.
        predict_seconds: that these votes took, from vectors on.
        tuned: the name of the method, if something was chosen for it in the rehearsal.
        apart: its votes for what was kept apart there, having learned from the rest; None: it was not asked.
        apart_seconds: that this took.
        curve: of an MLP, meanwhile.
    """

    name: str
    vectors: tuple[str, ...]
    votes: Votes
    train_seconds: float
    predict_seconds: float
    tuned: str = ""
    apart: Votes | None = None
    apart_seconds: float = 0.0
    curve: tuple[Epoch, ...] = ()


@dataclass(frozen=True)
class Runner:
    """Runs methods on one split.

    Args:
        gathered: both sides of it.
        learned_seconds: that learning the encoders and ingesting took.
        rehearsal: within the training part; None: nothing has to be chosen.
        ensemble: whether methods are asked in the rehearsal too, for an ensemble.
        progress: where to show how far it is.
    """

    gathered: Gathered
    learned_seconds: float
    rehearsal: Rehearsal | None
    ensemble: bool
    progress: Progress

    def neighbours(
        self, hits: Mapping[str, Hits], seconds: Mapping[str, float], temperature: float
    ) -> Iterator[Outcome]:
        """The votes of neighbours by each named vector and by all of them together, by mode and weighted.

        Args:
            hits: of the held-out products, by vector.
            seconds: that finding them took, by vector.
            temperature: of the weighted vote.
        """
        modes = {name: mode_vote(found) for name, found in hits.items()}
        weighted = {name: weighted_vote(found, temperature) for name, found in hits.items()}
        for way, votes in (("mode", modes), ("weighted vote", weighted)):
            for name, each in votes.items():
                nearest = Nearest(name, hits[name].ids.shape[1], temperature)
                took, apart = self._rehearsed(nearest) if votes is weighted else (0.0, None)
                title = nearest.name if votes is weighted else f"kNN by {name}, {way}"
                yield Outcome(title, (name,), each, 0.0, seconds[name], apart=apart, apart_seconds=took)
            if len(votes) > 1:
                fused = fused_vote([(each, 1.0) for each in votes.values()])
                yield Outcome(f"kNN by {' + '.join(votes)}, {way}", tuple(votes), fused, 0.0, sum(seconds.values()))

    def fitted(self, baseline: Baseline) -> Outcome:
        """Let a baseline learn and predict; a network first finds out for how many epochs.

        Raises:
            BaselineError: it cannot be run, or not with these products.
        """
        started = time.monotonic()
        curve: tuple[Epoch, ...] = ()
        apart: Votes | None
        tuned = (MLP if baseline.hidden else LINEAR) if isinstance(baseline, Network) else ""
        if isinstance(baseline, Network) and self.rehearsal:
            found = baseline.rehearse(self.rehearsal.train, self.rehearsal.apart, self.progress)
            baseline, apart, took = found.network, found.votes, time.monotonic() - started
            curve = found.curve if baseline.hidden else ()
        else:
            took, apart = self._rehearsed(baseline)
        learning, fitted = _timed(lambda: baseline.fit(self.gathered.train, self.progress))
        predicting, votes = _timed(lambda: fitted.predict(self.gathered.test))
        return Outcome(baseline.name, baseline.vectors, votes, learning, predicting, tuned, apart, took, curve)

    def together(self, outcomes: Sequence[Outcome]) -> Outcome | None:
        """The ensemble of the methods that were rehearsed; None when they are fewer than two."""
        members = {each.name: each for each in outcomes if each.apart is not None}
        if self.rehearsal is None or len(members) < 2:
            return None
        truth = self.rehearsal.apart.labels
        apart = {name: each.apart for name, each in members.items() if each.apart is not None}
        choosing, ensemble = _timed(lambda: Ensemble.chosen(apart, truth))
        adding, votes = _timed(lambda: ensemble.vote({name: each.votes for name, each in members.items()}))
        chosen = [members[name] for name in ensemble.weights]
        return Outcome(
            ensemble.name,
            tuple(dict.fromkeys(vector for each in chosen for vector in each.vectors)),
            votes,
            # All of them had to learn for some to be chosen.
            choosing + sum(each.train_seconds + each.apart_seconds for each in members.values()),
            adding + sum(each.predict_seconds for each in chosen),
            tuned=ENSEMBLE,
        )

    def ran(self, outcome: Outcome) -> Ran:
        """An outcome with the seconds of all that it needs."""
        train = outcome.train_seconds
        if outcome.vectors:
            train += self.learned_seconds
        if outcome.tuned and self.rehearsal:
            train += self.rehearsal.seconds + outcome.apart_seconds
        predict = outcome.predict_seconds + self.gathered.encoding(outcome.vectors)
        return Ran(outcome.name, outcome.votes.winners, train, predict, outcome.curve)

    def _rehearsed(self, baseline: Baseline) -> tuple[float, Votes | None]:
        if self.rehearsal is None or not self.ensemble:
            return 0.0, None
        train, apart = self.rehearsal.train, self.rehearsal.apart
        return _timed(lambda: baseline.fit(train, self.progress).predict(apart))


def _timed(work: Callable[[], Result]) -> tuple[float, Result]:
    started = time.monotonic()
    result = work()
    return time.monotonic() - started, result
