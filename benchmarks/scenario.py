"""A made-up marketplace's weeks: the commands that killing.py kills, and what an index is after each of them."""

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.sample import write_sample
from rubrika.store.base import Payload

RUBRIKA = Path(sys.executable).with_name("rubrika")
TOLERANCE = 1e-6
# Of these a killed and repeated command may make others than one that ran through.
UNSTABLE = ("ingested_at",)
TITLE = r"""(['"]title['"]: ['"])"""


@dataclass(frozen=True)
class Step:
    """One command, without --index."""

    name: str
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class State:
    """All points of an index: their ids in the order of a scroll, and by id what they hold."""

    ids: list[int]
    payloads: dict[int, Payload]
    vectors: dict[int, dict[str, NDArray[np.float32]]]

    @classmethod
    def of(cls, folder: Path) -> "State":
        """Read an index whole."""
        with Index.open(Location(folder, cache=folder)) as index:
            points = [point for page in index.store.scroll(payload=True, vectors=True) for point in page]
            if index.store.count() != len(points):
                raise AssertionError(f"{folder}: {index.store.count()} points counted, {len(points)} met")
        payloads = {each.id: {k: v for k, v in each.payload.items() if k not in UNSTABLE} for each in points}
        return cls([each.id for each in points], payloads, {each.id: dict(each.vectors) for each in points})


@dataclass
class Damage:
    """What differs from an uninterrupted run, in points; `results` in answers of classify, `checks` in `check`."""

    lost: int = 0
    surplus: int = 0
    doubled: int = 0
    payloads: int = 0
    vectors: int = 0
    results: int = 0
    checks: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def compare(self, state: State, expected: State) -> None:
        """Count what differs."""
        found, wanted = set(state.ids), set(expected.ids)
        self.lost += len(wanted - found)
        self.surplus += len(found - wanted)
        self.doubled += len(state.ids) - len(found)
        self.payloads += sum(state.payloads[id] != expected.payloads[id] for id in found & wanted)
        self.vectors += sum(not _close(state.vectors[id], expected.vectors[id]) for id in found & wanted)


def prepare(folder: Path, products: int, seed: int) -> list[Step]:
    """Write the files of three weeks, and say which commands follow one another."""
    write_sample(folder, seed=seed, products=products)
    rows = pd.read_parquet(folder / "train.parquet")
    count, quarter = len(rows), len(rows) // 8
    first = rows[: 6 * count // 10]
    second = rows[: 9 * count // 10].copy()
    labels, texts, ratings = (slice(place * quarter, (place + 1) * quarter - 1) for place in range(3))
    for column in ("category_id", "category_name"):
        second.loc[labels, column] = np.roll(rows.loc[labels, column].to_numpy(), 1)
    second.loc[texts, "text_fields"] = second.loc[texts, "text_fields"].str.replace(TITLE, r"\1Новинка ", regex=True)
    second.loc[ratings, "rating"] = 1.5
    third = pd.concat([second[count // 10 :], rows[9 * count // 10 :]])
    files = {name: folder / f"{name}.parquet" for name in ("first", "second", "third", "gone")}
    for name, week in (("first", first), ("second", second), ("third", third), ("gone", third[::20])):
        week.to_parquet(files[name])
    source, target = third["category_id"].value_counts().index[:2]
    return [
        Step("ingest, new", ("ingest", files["first"])),
        Step("ingest, changed", ("ingest", files["second"])),
        Step("ingest, missing", ("ingest", files["third"], "--delete-missing")),
        Step("learn", ("learn",)),
        Step("delete", ("delete", files["gone"])),
        Step("relabel", ("relabel", "--from", source, "--to", target)),
    ]


def classify(folder: Path, index: Path) -> bytes:
    """The bytes of result.parquet."""
    result = index.with_name("result.parquet")
    command = [RUBRIKA, "classify", folder / "test.parquet", "--index", index, "-o", result]
    subprocess.run(command, check=True, capture_output=True)
    return result.read_bytes()


def is_whole(index: Path) -> bool:
    """Whether `rubrika check` finds nothing."""
    return subprocess.run([RUBRIKA, "check", "--index", index], capture_output=True).returncode == 0


def _close(found: dict[str, NDArray[np.float32]], expected: dict[str, NDArray[np.float32]]) -> bool:
    return found.keys() == expected.keys() and all(
        np.allclose(found[name], expected[name], rtol=0, atol=TOLERANCE) for name in found
    )
