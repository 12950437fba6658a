"""Which row had an id first is known of all rows, in little memory."""

import tracemalloc
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rubrika.ingest.seen import FirstRow, SeenRows

IDS = st.integers(0, 2**64 - 1) | st.integers(0, 20)


@given(st.lists(st.lists(IDS, unique=True, max_size=9), max_size=12), st.lists(IDS, max_size=9))
def test_batches_of_rows_are_known_as_a_dict_knows_them(batches: list[list[int]], asked: list[int]) -> None:
    seen, known = SeenRows(), dict[int, FirstRow]()
    for number, ids in enumerate(batches):
        fresh = {
            id: FirstRow(hash((id, "мяч")), Path(f"{number % 3}.csv"), row)
            for row, id in enumerate(ids)
            if id not in known
        }
        seen.add(fresh)
        known |= fresh
    wanted = [*asked, *list(known)[:5]]
    assert seen.of(wanted) == {id: known[id] for id in wanted if id in known}
    assert seen.has(np.array(wanted, np.uint64)).tolist() == [id in known for id in wanted]
    assert len(seen) == len(known)


def test_a_row_takes_little_more_than_32_bytes() -> None:
    rows, file = 100_000, Path("catalogue.parquet")
    ids = np.random.default_rng(0).integers(0, 2**63, rows).tolist()
    tracemalloc.start()
    seen = SeenRows()
    for start in range(0, rows, 1_000):
        seen.add({id: FirstRow(-id, file, start + row) for row, id in enumerate(ids[start : start + 1_000])})
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(seen) == rows
    assert taken < 36 * rows
