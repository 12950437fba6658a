"""Compares other methods with Rubrika on the same split, while there is an index of what was not held out."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rubrika.errors import RubrikaError
from rubrika.eval.gather import Gathered, gather
from rubrika.eval.heldout import Labels
from rubrika.eval.methods import ENSEMBLE, KNN, LINEAR, MLP, RUBRIKA, ChosenOn, Note, Ran, baselines_of, runnable
from rubrika.eval.rehearsal import Rehearsal, rehearsal_of
from rubrika.eval.run import Outcome, Runner
from rubrika.eval.split import Split
from rubrika.eval.watch import Watch
from rubrika.index.create import Choice
from rubrika.index.index import Index
from rubrika.products.parquet import Reader
from rubrika.products.pictures import PictureFolder
from rubrika.products.selection import Selection
from rubrika.progress import Progress
from rubrika.retrieve.classify import search
from rubrika.store.store import Hits

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
        watch: knows what learning and ingesting took.
        progress: where to show how far it is.
        note: says what a person should know.
    """

    reader: Reader
    cache: Path
    pictures: PictureFolder | None
    choice: Choice | None
    seed: int
    top_k: int | None
    watch: Watch
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
        """As in Guest."""
        setting, learned = self._setting, self._setting.watch.seconds["learn and ingest"]
        with setting.watch.stage("compare methods"):
            gathered = gather(index, setting.reader, labels, groups, split, setting.pictures, setting.progress)
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
            if ENSEMBLE in names and (ensemble := runner.together(outcomes)):
                outcomes.append(ensemble)
            self._ran = [runner.ran(outcome) for outcome in outcomes]

    def beside(self, predicted: NDArray[np.int64]) -> list[Ran]:
        """What Rubrika has predicted, and then all methods."""
        return [Ran(RUBRIKA, predicted, *self._own), *self._ran]

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
            found = rehearsal_of(
                gathered.train,
                index,
                products,
                setting.pictures,
                setting.choice,
                setting.cache,
                setting.seed,
                setting.progress,
            )
            self.rehearsed = ChosenOn(len(found.train), len(found.apart))
            return found
        except RubrikaError as error:
            setting.note(f"{', '.join(tuned)}: left out, as nothing can be chosen for them: {error}")
            return None

    def _fitted(self, runner: Runner, names: Collection[str], vectors: Collection[str]) -> Iterator[Outcome]:
        for baseline in baselines_of(names, vectors, self._setting.seed):
            try:
                yield runner.fitted(baseline)
            except RubrikaError as error:
                self._setting.note(f"{baseline.name} is left out: {error}")
