"""Kills real `rubrika` processes at random moments, again and again, and counts what that does to an index.

python benchmarks/killing.py --kills 200 --seed 0

The commands of scenario.py are run once undisturbed. Then they are run again, each as a process of its own that gets
SIGKILL at a random moment and is started again, some times over, until it may end; after each command, all points are
compared with the undisturbed ones, and after the last also what `classify` says. Half of the kills fall anywhere, half
after the index is first marked as changing, where there is something to lose. Prints JSON; exits 1 on any damage.
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
    """One process: how it ended, the last phase it got to, what it encoded by batches, when it changed the index."""

    code: int
    phase: str
    encoded: list[list[int]]
    changing: float | None
    error: str


@dataclass(frozen=True)
class Expected:
    """What an undisturbed command leaves, and how many seconds it takes, in all and once it changes the index."""

    state: State
    seconds: float
    changing: float


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
                self._kill(step, index, expected, min(MOST_KILLS, kills - self.kills.phases.total()))
                self.damage.compare(State.of(index), expected.state)
            self.damage.results += classify(self.folder / "market", index) != self.result
            self.damage.checks += not is_whole(index)
            print(f"{self.kills.phases.total()} kills, {self.damage}", file=sys.stderr)

    def _kill(self, step: Step, index: Path, expected: Expected, most: int) -> None:
        """Start a command until it ends of itself."""
        attempts = list[Attempt]()
        left = int(self.chance.integers(1, most, endpoint=True)) if most else 0
        while True:
            if left > sum(attempt.code < 0 for attempt in attempts):
                late = bool(self.chance.integers(2))
                delay = float(self.chance.uniform(0, expected.changing if late else expected.seconds))
                attempts.append(self._run(step, index, delay, late))
            else:
                attempts.append(self._run(step, index))
            if attempts[-1].code > 0:
                self.damage.refused[attempts[-1].error] += 1
            # Killed after its last write, it has done its work.
            if attempts[-1].code >= 0 or attempts[-1].phase == "done":
                break
        self.kills.note(step, attempts)

    def _undisturbed(self, step: Step, index: Path) -> Expected:
        started = time.time()
        attempt = self._run(step, index)
        if attempt.code:
            raise RuntimeError(f"{step.name}: {attempt.error}")
        ended = time.time()
        return Expected(State.of(index), ended - started, ended - (attempt.changing or started))

    def _run(self, step: Step, index: Path, delay: float | None = None, late: bool = False) -> Attempt:
        """Start a command; kill it after `delay` seconds, counted from when it marks the index when it is `late`."""
        notes, said = self.folder / "notes", self.folder / "said"
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
        return Attempt(code, phase, encoded, _changing(noted), said.read_text(errors="replace").strip()[-300:])


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
