"""Kills real `rubrika` processes at random moments, again and again, and counts what that does to an index.

python benchmarks/killing.py --kills 200 --seed 0

The commands of scenario.py are run once undisturbed. Then they are run again, each as a process of its own that gets
SIGKILL at a random moment and is started again, some times over, until it may end; after each command, all points are
compared with the undisturbed ones, and after the last also what `classify` says. A third of the kills falls anywhere,
the others while the index is being changed, where there is something to lose. Prints JSON; exits 1 on any damage.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from scenario import Damage, State, Step, classify, is_whole, prepare

NOTING = Path(__file__).with_name("noting.py")
BATCH_ROWS = 64
MOST_KILLS = 6
# From here on there is something to lose.
CHANGING = ("marking the manifest", "writing products")


@dataclass(frozen=True)
class Attempt:
    """One process.

    Args:
        code: how it ended, below zero when it was killed.
        phase: the last one it got to.
        encoded: ids of products, by batches.
        seconds: that it took in all, and from when it began to change the index until that was done.
        error: the end of what it said.
    """

    code: int
    phase: str
    encoded: list[list[int]]
    seconds: tuple[float, float]
    error: str


@dataclass
class Kills:
    """Where kills fell, and how many products were encoded, and encoded more than once."""

    phases: Counter[str] = field(default_factory=Counter)
    commands: Counter[str] = field(default_factory=Counter)
    encoded: int = 0
    repeated_in_flight: int = 0
    repeated_beyond: int = 0
    repeated_by_learn: int = 0

    def note(self, step: Step, attempts: list[Attempt]) -> None:
        """Count the attempts that one command took."""
        settled, begun = set[int](), set[int]()
        for attempt in attempts:
            ids = [id for batch in attempt.encoded for id in batch]
            self.encoded += len(ids)
            again, anew = len(begun & set(ids)), len(settled & set(ids))
            if step.name == "learn":
                # What a killed `learn` has made is thrown away: until it ends, the index is the old one.
                self.repeated_by_learn += again
            else:
                self.repeated_in_flight += again - anew
                self.repeated_beyond += anew + len(ids) - len(set(ids))
            begun.update(ids)
            settled.update(id for batch in attempt.encoded[:-1] for id in batch)
            if attempt.code < 0:
                self.phases[attempt.phase] += 1
                self.commands[step.name] += 1


class Loop:
    """The commands, run and killed.

    Args:
        folder: of the marketplace and the indexes.
        chance: when to kill.
    """

    def __init__(self, folder: Path, products: int, seed: int) -> None:
        self.folder, self.chance = folder, np.random.default_rng(seed)
        self.steps = prepare(folder / "market", products, seed)
        self.kills, self.damage, self.rounds = Kills(), Damage(), 0
        # How long undisturbed commands take; a shared machine's pace changes, so it is measured whenever one is.
        self.pace = dict[str, tuple[float, float]]()
        index = folder / "expected"
        self.expected = [self._undisturbed(step, index) for step in self.steps]
        self.result = classify(folder / "market", index)

    def run(self, kills: int) -> None:
        """Go through all commands until there were so many kills."""
        while self.kills.phases.total() < kills:
            self.rounds += 1
            index = self.folder / "index"
            shutil.rmtree(index, ignore_errors=True)
            for step, expected in zip(self.steps, self.expected, strict=True):
                self._kill(step, index, min(MOST_KILLS, kills - self.kills.phases.total()))
                self.damage.compare(State.of(index), expected)
            self.damage.results += classify(self.folder / "market", index) != self.result
            self.damage.checks += not is_whole(index)
            print(f"{self.kills.phases.total()} kills, {self.damage}", file=sys.stderr)

    def _kill(self, step: Step, index: Path, most: int) -> None:
        """Start a command until it ends of itself."""
        attempts = list[Attempt]()
        left = int(self.chance.integers(1, most, endpoint=True)) if most else 0
        while True:
            if left > sum(attempt.code < 0 for attempt in attempts):
                late = bool(self.chance.integers(3))
                delay = float(self.chance.uniform(0, self.pace[step.name][late]))
                attempts.append(self._run(step, index, delay, late))
            else:
                attempts.append(self._run(step, index))
            if attempts[-1].code > 0:
                self.damage.refused[attempts[-1].error] += 1
            # Killed after its last write, it has done its work.
            if attempts[-1].code >= 0 or attempts[-1].phase == "done":
                break
        if len(attempts) == 1 and attempts[0].code == 0:
            self.pace[step.name] = attempts[0].seconds
        self.kills.note(step, attempts)

    def _undisturbed(self, step: Step, index: Path) -> State:
        attempt = self._run(step, index)
        if attempt.code:
            raise RuntimeError(f"{step.name}: {attempt.error}")
        self.pace[step.name] = attempt.seconds
        return State.of(index)

    def _run(self, step: Step, index: Path, delay: float | None = None, late: bool = False) -> Attempt:
        """Start a command; kill it after `delay` seconds, counted from when it marks the index when it is `late`."""
        notes, said, started = self.folder / "notes", self.folder / "said", time.time()
        notes.unlink(missing_ok=True)
        command = [sys.executable, NOTING, notes, BATCH_ROWS, *step.arguments, "--index", index]
        with said.open("wb") as file:
            process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file)
        while late and process.poll() is None and _changing(_noted(notes)) is None:
            time.sleep(0.002)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
        code = process.wait()
        noted = _noted(notes)
        phase = next((note["phase"] for note in reversed(noted) if "phase" in note), "starting")
        encoded = [note["encoded"] for note in noted if "encoded" in note]
        changed = noted[-1]["at"] - (_changing(noted) or started) if noted else 0.0
        seconds, error = (time.time() - started, changed), said.read_text(errors="replace").strip()[-300:]
        return Attempt(code, phase, encoded, seconds, error)


def _noted(notes: Path) -> list[dict[str, Any]]:
    lines = notes.read_bytes().splitlines(keepends=True) if notes.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _changing(noted: list[dict[str, Any]]) -> float | None:
    return next((note["at"] for note in noted if note.get("phase") in CHANGING), None)


def main() -> None:
    """Print what the kills did."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--products", type=int, default=1_200)
    given = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    with TemporaryDirectory(prefix="rubrika-killing-") as folder:
        loop = Loop(Path(folder), given.products, given.seed)
        loop.run(given.kills)
    found = {"kills": loop.kills.phases.total(), "rounds": loop.rounds, **vars(loop.kills), **vars(loop.damage)}
    print(json.dumps(found | {"seconds": round(time.monotonic() - started)}, ensure_ascii=False, indent=2))
    sys.exit(any(vars(loop.damage).values()) or loop.kills.repeated_beyond > 0)


if __name__ == "__main__":
    main()
