"""Compares other methods with Rubrika on the same split, while there is an index of what was not held out."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import RubrikaError
from rubrika.eval.gather import Gathered, Wanted, gather
from rubrika.eval.heldout import Labels, Timer
from rubrika.eval.methods import ENSEMBLE, KNN, LINEAR, MLP, RUBRIKA, ChosenOn, Note, Ran, baselines_of, runnable
from rubrika.eval.rehearsal import Rehearsal, rehearsal_of
from rubrika.eval.run import Outcome, Runner
from rubrika.eval.split import Split
from rubrika.index.folder import LEARNED, Choice, Index
from rubrika.index.manifest import JOINT
from rubrika.products.images import PictureFolder
from rubrika.products.product import Selection
from rubrika.products.reader import Reader
from rubrika.progress import Progress
from rubrika.retrieve.search import search
from rubrika.store.base import Hits

# These are chosen something for.
TUNED = {LINEAR, MLP, ENSEMBLE}


@dataclass(frozen=True)
class Setting:
    """What methods are run with.

    Args:
        reader: labelled products.
        cache: a folder for vectors of pretrained encoders.
        pictures: where the products' pictures are, if anywhere.
        choice: how the index is made.
        seed: of all that is drawn at random.
        top_k: how many neighbours vote; None: as many as in the index.
        timer: knows what learning and ingesting took.
        progress: where to show how far it is.
        note: says what a person should know.
    """

    reader: Reader
    cache: Path
    pictures: PictureFolder | None
    choice: Choice | None
    seed: int
    top_k: int | None
    timer: Timer
    progress: Progress
    note: Note


class Comparison:
    """A guest of the held-out index: runs methods and keeps what they have predicted, and where things were chosen.

    Args:
        names: of the methods, as in `methods.NAMES`.
        setting: what they are run with.
    """

    def __init__(self, names: Sequence[str], setting: Setting) -> None:
        self._names, self._setting = runnable(names, setting.note), setting
        self._ran: list[Ran] = []
        self.rehearsed: ChosenOn | None = None
        self._own = 0.0, 0.0

    def visit(self, index: Index, labels: Labels, groups: NDArray[np.int64], split: Split) -> None:
        """As in Observer."""
        setting, learned = self._setting, self._setting.timer.seconds["learn and ingest"]
        with setting.timer.stage("compare methods"):
            wanted = self._wanted(index)
            gathered = gather(index, setting.reader, labels, groups, split, wanted, setting.pictures, setting.progress)
            hits, seconds = self._searched(index, gathered)
            own = index.manifest.vote.weights
            self._own = learned, gathered.encoding(own) + sum(seconds[name] for name in own)
            rehearsal = self._rehearsal(index, gathered, Selection(setting.reader, ~split.held_out))
            names = self._names if rehearsal else [name for name in self._names if name not in TUNED]
            runner = Runner(gathered, learned, rehearsal, ENSEMBLE in names, setting.progress)
            outcomes: list[Outcome] = []
            if KNN in names:
                outcomes += runner.neighbours(hits, seconds, index.manifest.vote.temperature)
            outcomes += self._fitted(runner, names, index.manifest.sizes)
            if ENSEMBLE in names:
                self._check_members(sum(outcome.apart is not None for outcome in outcomes))
                outcomes += filter(None, [runner.together(outcomes)])
            self._ran = [runner.ran(outcome) for outcome in outcomes]
            tuned = tuple(dict.fromkeys(outcome.tuned for outcome in outcomes if outcome.tuned))
            if rehearsal and tuned:
                self.rehearsed = ChosenOn(len(rehearsal.train), len(rehearsal.apart), tuned, rehearsal.encoders)

    def beside(self, predicted: NDArray[np.int64]) -> list[Ran]:
        """What Rubrika has predicted, and then all methods."""
        return [Ran(RUBRIKA, predicted, *self._own), *self._ran]

    def _check_members(self, count: int) -> None:
        """Leave an ensemble out, saying so, that has too few members."""
        if ENSEMBLE in self._names and count < 2:
            self._names = tuple(name for name in self._names if name != ENSEMBLE)
            self._setting.note(f"ensemble is left out: it adds up at least 2 methods, and there is {count}; name more")

    def _wanted(self, index: Index) -> Wanted:
        """What the methods look at, and encoders that learn anew for a rehearsal."""
        manifest = index.manifest
        baselines = baselines_of(self._names, manifest.sizes, self._setting.seed)
        self._check_members(len(baselines) + (len(manifest.sizes) if KNN in self._names else 0))
        names = set(self._names)
        stored = {name for baseline in baselines for name in baseline.vectors}
        stored |= set(manifest.sizes) if {KNN, ENSEMBLE} <= names else set()
        if JOINT in stored and index.encoders.joint:
            stored |= set(index.encoders.joint.config.inputs)
        learn = bool(TUNED & names) and any(manifest.vectors[name].encoder == LEARNED for name in stored)
        asked = set(manifest.sizes) if KNN in names else stored | set(manifest.vote.weights)
        return Wanted(learn or not all(baseline.vectors for baseline in baselines), stored, asked)

    def _searched(self, index: Index, gathered: Gathered) -> tuple[dict[str, Hits], dict[str, float]]:
        """Hits of the held-out products, and the seconds that they took, by named vector."""
        top_k, hits, seconds = self._setting.top_k or index.manifest.vote.top_k, dict[str, Hits](), dict[str, float]()
        wanted = gathered.test.vectors if KNN in self._names else index.manifest.vote.weights
        for name in wanted:
            started = time.monotonic()
            hits[name] = search(index.store, name, gathered.test.vectors[name], top_k)
            seconds[name] = time.monotonic() - started
        return hits, seconds

    def _rehearsal(self, index: Index, gathered: Gathered, products: Selection) -> Rehearsal | None:
        """A rehearsal, if there is something to choose; where there cannot be one, it is said what is left out."""
        setting, tuned = self._setting, [name for name in self._names if name in TUNED]
        if not tuned:
            return None
        try:
            return rehearsal_of(
                gathered.train,
                index,
                products,
                setting.pictures,
                setting.choice,
                setting.cache,
                setting.seed,
                setting.progress,
            )
        except RubrikaError as error:
            setting.note(f"{', '.join(tuned)}: left out, as nothing can be chosen for them: {error}")
            return None

    def _fitted(self, runner: Runner, names: Collection[str], vectors: Collection[str]) -> Iterator[Outcome]:
        for baseline in baselines_of(names, vectors, self._setting.seed):
            try:
                yield runner.fitted(baseline)
            except RubrikaError as error:
                self._setting.note(f"{baseline.name} is left out: {error}")
