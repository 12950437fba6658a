"""Feeds broken parquet files to the reader for a while, and counts how each of them ended.

Run `python benchmarks/zoo.py --seconds 120 --seed 0`; `--only N` repeats input N alone and shows how it ended.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from broken_files import CLEAN, DAMAGES, REJECTS, SENTENCE, Keeper, healthy

FINE = (CLEAN, REJECTS, SENTENCE)
SHARDS = "кот \"'\\[]{}()<>&;:,.-+0123456789eENoneTruenull\0\t\n\u202e\u200b\ufefféЯ😀"
IDS = (None, -1.0, 1.5, 2.0**63, 2.0**64, 1e300, float("nan"), float("inf"), 7.0, 12.0)
LONGEST = 5_000


def cells(path: Path, rng: np.random.Generator) -> None:
    """A whole file whose cells hold anything: broken notation, wrong bytes, ids that are none."""
    count = int(rng.integers(1, 30))
    texts = [_cell(rng) for _ in range(count)]
    table = pa.table(
        {
            "product_id": pa.array([IDS[rng.integers(len(IDS))] for _ in range(count)], pa.float64()),
            "category_id": pa.array([IDS[rng.integers(len(IDS))] for _ in range(count)], pa.float64()),
            "category_name": pa.array([_noise(rng, 50) for _ in range(count)]).view(pa.string()),
            "text_fields": pa.array(texts).view(pa.string()),
            "shop_id": pa.array([IDS[rng.integers(len(IDS))] for _ in range(count)], pa.float64()),
            "shop_title": pa.array([_noise(rng, 50) for _ in range(count)]).view(pa.string()),
        }
    )
    pq.write_table(table, path)


def _cell(rng: np.random.Generator) -> bytes:
    title, noise = "".join(rng.choice(list(SHARDS), 20)), _noise(rng, LONGEST)
    fields = {"title": title, "description": noise.decode("utf-8", "replace"), "attributes": [[title], {title: 1.5}]}
    written = (json.dumps(fields) if rng.integers(2) else repr(fields)).encode("utf-8", "replace")
    if rng.integers(2):
        return written
    if not rng.integers(3):
        return noise
    place = rng.integers(len(written))
    return written[:place] + _noise(rng, 20) + written[place + rng.integers(20) :]


def _noise(rng: np.random.Generator, longest: int) -> bytes:
    if rng.integers(2):
        return rng.bytes(int(rng.integers(longest)))
    return "".join(rng.choice(list(SHARDS), int(rng.integers(longest)))).encode()


def make(path: Path, seed: int, number: int) -> str:
    """Write input `number` of a seed, and say what was done to it."""
    rng = np.random.default_rng([seed, number])
    names = [*DAMAGES, cells.__name__]
    name = names[rng.integers(len(names))]
    if name == cells.__name__:
        cells(path, rng)
    else:
        path.write_bytes(DAMAGES[name](healthy(path, int(rng.integers(2**32))), rng))
    return name


def main() -> None:
    """Print how many inputs were tried, how they ended, and which ended otherwise than they should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    given = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    slowest, number, started = 0.0, given.only or 0, time.monotonic()
    keeper = Keeper()
    with TemporaryDirectory(prefix="rubrika-zoo-") as folder:
        path = Path(folder) / "animal.parquet"
        while time.monotonic() - started < given.seconds:
            name, before = make(path, given.seed, number), time.monotonic()
            outcome = keeper.read(path, labelled=bool(number % 2))
            slowest = max(slowest, time.monotonic() - before)
            counts[name, outcome.kind] += 1
            if outcome.kind not in FINE or given.only is not None:
                print(f"--seed {given.seed} --only {number} ({name}): {outcome.kind} {outcome.said}")
            if given.only is not None:
                break
            number += 1
    keeper.close()
    print(f"{counts.total():,} inputs, the slowest took {slowest:.2f} s")
    for (name, kind), count in sorted(counts.items()):
        print(f"{name:8} {kind:10} {count:8,}")
    sys.exit(any(kind not in FINE for _, kind in counts))


if __name__ == "__main__":
    main()
