"""Many read an embedded store while one changes it: each reader has a state that was, whole, and none is in the way."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from conftest import Run

from rubrika.api import Index
from rubrika.errors import StoreError
from rubrika.store import shared
from rubrika.store.base import Point
from rubrika.store.edge import EdgeStore

SIZE, COUNT = 8, 400


def stand(version: int) -> list[Point]:
    """All products as one version of the shelf has them: each vector and each payload says which."""
    rows = np.random.default_rng(version).standard_normal((COUNT, SIZE)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [Point(i, {"text": rows[i]}, {"category_id": version, "title": f"товар {i}"}) for i in range(COUNT)]


def version_of(store: EdgeStore) -> int:
    """The version that all points, all vectors and the search agree on."""
    points = [point for page in store.scroll(vectors=True) for point in page]
    [version] = {point.payload["category_id"] for point in points}
    assert +Counter(store.facet("category_id")) == {version: COUNT}
    expected = stand(version)
    assert all(np.allclose(a.vectors["text"], b.vectors["text"]) for a, b in zip(points, expected, strict=True))
    asked = np.array([point.vectors["text"] for point in expected[:20]])
    assert store.search("text", asked, 1).ids[:, 0].tolist() == list(range(20))
    return version


def read(folder: Path) -> int:
    """The version that a new reader has."""
    store = EdgeStore.open(folder, shared=True)
    try:
        return version_of(store)
    finally:
        store.close()


def write(folder: Path, version: int) -> None:
    """Change everything, a part at a time, as an ingest does."""
    store = EdgeStore.open(folder)
    points = stand(version)
    for start in range(0, COUNT, 100):
        store.upsert(points[start : start + 100])
    store.optimise()
    store.flush()
    store.close()


@contextmanager
def started(script: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Run lines in a process of their own, with what this module has and `folder`."""
    head = "import sys; sys.path[:0] = sys.argv[2:]; from test_shared import *; folder = Path(sys.argv[1])\n"
    places = [Path(__file__).parent, Path(__file__).parents[1]]
    command, environment = [sys.executable, "-c", head + script, folder, *places], {"TMPDIR": str(folder.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | environment) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = EdgeStore.create(tmp_path / "edge", {"text": SIZE})
    store.upsert(stand(0))
    store.optimise()
    store.close()
    return tmp_path / "edge"


def test_a_reader_keeps_what_it_opened_and_the_next_one_has_what_is_new(folder: Path) -> None:
    early = EdgeStore.open(folder, shared=True)
    late = EdgeStore.open(folder, shared=True)
    store = EdgeStore.open(folder)
    store.upsert(stand(1)[:100])
    # Of a change that is under way, nobody sees anything.
    assert [version_of(early), version_of(late), read(folder)] == [0, 0, 0]
    store.upsert(stand(1)[100:])
    store.optimise()
    store.close()
    assert [version_of(early), read(folder)] == [0, 1]
    early.close(), late.close()
    assert not (folder / shared.PUBLISHED).exists()


def test_readers_and_a_writer_at_once_never_mix_two_states(folder: Path) -> None:
    script = "print('ready', flush=True)\nseen = [read(folder)]\nwhile seen[-1] < 6: seen.append(read(folder))\n"
    script += "assert seen == sorted(seen); print(len(seen), flush=True)"
    with ExitStack() as stack:
        readers = [stack.enter_context(started(script, folder)) for _ in range(2)]
        assert [said(reader) for reader in readers] == ["ready"] * 2
        for version in range(1, 7):
            write(folder, version)
        assert [reader.wait(120) for reader in readers] == [0, 0]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_writer_that_is_killed_has_lost_nothing_and_locks_nobody_out(folder: Path) -> None:
    script = "store = EdgeStore.open(folder); store.upsert(stand(1)); print('written', flush=True); signal.pause()"
    with started(script, folder) as writer:
        assert said(writer) == "written"
        assert read(folder) == 0
    # What it left for readers is older than what it had written.
    assert (folder / shared.PUBLISHED).exists()
    assert read(folder) == 1
    write(folder, 2)
    assert read(folder) == 2
    assert not (folder / shared.PUBLISHED).exists()


def test_a_reader_that_is_killed_leaves_nothing_behind(folder: Path) -> None:
    script = "store = EdgeStore.open(folder, shared=True); print(version_of(store), flush=True); signal.pause()"
    with started(script, folder) as reader:
        assert said(reader) == "0"
        assert list(folder.parent.iterdir()) == [folder]
    assert reader.returncode == -signal.SIGKILL
    assert list(folder.parent.iterdir()) == [folder]
    write(folder, 1)
    assert read(folder) == 1


def test_who_copies_is_waited_for(folder: Path) -> None:
    script = "with shared._locked(folder, shared.fcntl.LOCK_SH): print('copying', flush=True); time.sleep(1)"
    with started(script, folder) as reader:
        assert said(reader) == "copying"
        before = time.monotonic()
        write(folder, 1)
        assert time.monotonic() - before > 0.5
    assert read(folder) == 1


def test_what_is_linked_is_never_changed_in_place(tmp_path: Path) -> None:
    def digests() -> Iterator[str]:
        return (hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(kept.iterdir()))

    # Of fewer or smaller vectors the engine makes no segment of its own.
    rows = np.random.default_rng(0).standard_normal((3_500, 1_024)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    points = [Point(i, {"text": row}, {"category_id": i % 7}) for i, row in enumerate(rows)]
    kept, folder = tmp_path / "kept", tmp_path / "edge"
    kept.mkdir()
    store = EdgeStore.create(folder, {"text": 1_024}, graph_from=3_000)
    store.upsert(points[:3_300])
    store.optimise()
    store.close()
    large = [file for file in folder.rglob("*") if file.name in shared.LINKED]
    assert {file.name for file in large} == shared.LINKED
    for file in large:
        os.link(file, kept / file.name)
    before = list(digests())
    store = EdgeStore.open(folder, graph_from=3_000)
    store.delete(range(500))
    store.upsert([Point(point.id - 400, point.vectors, point.payload) for point in points[1_000:2_000]])
    store.replace_payloads({id: {"category_id": 9} for id in range(2_000, 2_500)})
    store.upsert(points[3_300:])
    store.optimise()
    store.close()
    assert list(digests()) == before


def test_without_a_copy_a_reader_is_told_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "PATIENCE", 0.2)
    store = EdgeStore.open(folder)
    # As where the disk had no room for it.
    shutil.rmtree(folder / shared.PUBLISHED)
    with pytest.raises(StoreError, match=r"left no copy to read; wait for it to end, or move .* `rubrika push`"):
        read(folder)
    store.close()
    assert read(folder) == 0


def test_a_full_folder_for_copies_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/dev/null/none")
    with pytest.raises(StoreError, match="reading it takes a copy of some of its files in /dev/null/none .*set TMPDIR"):
        read(folder)


def test_what_is_written_to_a_copy_is_refused(folder: Path) -> None:
    store = EdgeStore.open(folder, shared=True)
    for work in (lambda: store.upsert(stand(1)), lambda: store.delete([1]), store.optimise):
        with pytest.raises(StoreError, match="open for reading"):
            work()
    store.close()


def test_an_index_is_read_by_many_while_it_is_changed(rubrika: Callable[..., Run], copy: Path) -> None:
    with Index.open(copy) as one, Index.open(copy) as two:
        nearest = one.neighbours(title="кроссовки", top_k=1)[0]
        assert rubrika("delete", nearest.product_id, "--index", copy, "--json").json["deleted"] == 1
        # An open index is what it was; opened anew, it is what is there.
        assert two.neighbours(title="кроссовки", top_k=1)[0] == nearest
        two.close()
        assert two.neighbours(title="кроссовки", top_k=1)[0].product_id != nearest.product_id


def test_an_index_that_is_read_only_is_read(copy: Path, market: Path, tmp_path: Path) -> None:
    # The administrator may write anywhere, unless that right is given up.
    without = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if without and shutil.which("setpriv") is None:
        pytest.skip("run by the administrator, who may write anywhere, and there is no setpriv")
    for path in (*copy.rglob("*"), copy):
        path.chmod(0o555 if path.is_dir() else 0o444)

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [*without, sys.executable, "-m", "rubrika", *words, "--index", copy]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)

    try:
        read = run("classify", market / "test.parquet", "-o", tmp_path / "result.parquet")
        assert read.returncode == 0, read.stderr
        changed = run("delete", "1")
        assert changed.returncode == 1
        assert "cannot be written (Permission denied)" in changed.stderr
    finally:
        for path in (copy, *copy.rglob("*")):
            path.chmod(0o755)
