"""A change that is stopped, or meets another one: it says how to go on, and the same command ends as if undisturbed."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import run_rubrika
from index_contents import contents
from qdrant_http import serve
from rows import CASES, SHOES, row

from rubrika.index.location import Location
from rubrika.index.manifest import MANIFEST, Manifest
from rubrika.ingest.ingest import IngestReport
from rubrika.ingest.ingest import ingest as run
from rubrika.ingest.maintain import relearn
from rubrika.products.reader import Reader
from rubrika.store.connection import Connection

Write = Callable[..., Path]
INTERRUPTED = Path(__file__).parents[1] / "interrupted.py"
ROWS = [row(1, "кроссовки беговые"), row(2, "кроссовки мужские"), row(3, "чехол", CASES), row(4, "футляр", CASES)]


def start(when: str, what: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, INTERRUPTED, when, what, *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(list(map(str, command)), stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def interrupted(when: str, what: str, *arguments: object) -> tuple[int, str]:
    process = start(when, what, *arguments)
    _, said = process.communicate(timeout=300)
    return process.returncode, said


def ingest(folder: Path, *files: Path) -> IngestReport:
    return run(Location(folder, cache=folder), Reader(files, labelled=True))


@pytest.fixture
def files(write: Write) -> list[Path]:
    """Every file is a batch at least."""
    return [write(ROWS, "a.parquet"), write([row(5, "кеды")], "b.parquet"), write([row(6, "сапоги")], "c.parquet")]


def test_a_repetition_changes_no_byte(files: list[Path], tmp_path: Path) -> None:
    ingest(tmp_path / "index", *files)
    first = contents(tmp_path / "index", times=True)
    assert ingest(tmp_path / "index", *files).unchanged == 6
    # Not the same files: these rows are compared.
    assert ingest(tmp_path / "index", files[0]).unchanged == 4
    assert contents(tmp_path / "index", times=True) == first


@pytest.mark.parametrize("signal", ["SIGINT", "SIGTERM"])
def test_stopped_while_writing_it_says_how_to_go_on(files: list[Path], tmp_path: Path, signal: str) -> None:
    ingest(tmp_path / "undisturbed", *files)
    code, said = interrupted("batch", signal, "ingest", *files, "--index", tmp_path / "index")
    assert code == 1
    assert said.splitlines()[-1] == (
        f"rubrika: stopped as asked: 4 of 6 rows are in {tmp_path / 'index'}; run the same command again to go on"
    )
    assert Manifest.read(tmp_path / "index").contents.products is None
    again = ingest(tmp_path / "index", *files)
    assert (again.added, again.unchanged, again.encoded) == (2, 4, 2)
    assert contents(tmp_path / "index") == contents(tmp_path / "undisturbed")
    one, other = (Manifest.read(tmp_path / name) for name in ("index", "undisturbed"))
    assert replace(one, calibration=replace(one.calibration, at=other.calibration.at)) == other


def test_stopped_while_learning_it_leaves_nothing(files: list[Path], tmp_path: Path) -> None:
    code, said = interrupted("learning", "SIGINT", "ingest", *files, "--index", tmp_path / "index")
    assert code == 1
    assert said.endswith(f"{tmp_path / 'index'}: stopped as asked; nothing is lost, run the same command again\n")
    assert not (tmp_path / "index").exists()


def test_learning_again_that_was_stopped_leaves_the_index_as_it_was(files: list[Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    ingest(index, *files)
    before, manifest = contents(index), (index / MANIFEST).read_bytes()
    for moment in ("learning", "writing"):
        code, said = interrupted(moment, "SIGINT", "learn", "--index", index)
        assert (code, said.count("stopped as asked")) == (1, 1)
        assert contents(index) == before
        assert (index / MANIFEST).read_bytes() == manifest
    relearn(Location(index, cache=index))
    kept = ["categories.json", "edge-2", "encoders-2", "index.json", "lock"]
    assert sorted(path.name for path in index.iterdir()) == kept


def test_learning_again_on_a_server_clears_away_what_a_killed_one_left_there(files: list[Path], tmp_path: Path) -> None:
    index = tmp_path / "index"
    with serve() as server:
        run(Location(index, Connection(server.url, "products"), index), Reader(files, labelled=True))
        code, _ = interrupted("writing", "SIGKILL", "learn", "--index", index)
        assert (code, len(server.client.get_collections().collections)) == (-9, 2)
        relearn(Location(index, cache=index))
        [left] = server.client.get_collections().collections
        assert (left.name, server.client.count(left.name).count) == (Manifest.read(index).behind, 6)


def test_a_second_writer_is_told_of_the_first_and_the_first_completes(
    files: list[Path], index_of: Callable[..., Path]
) -> None:
    index = index_of(ROWS)
    first = start("batch", "wait", "ingest", files[1], "--index", index)
    assert first.stdout is not None
    assert first.stdout.readline() == "waiting\n"
    second = run_rubrika("ingest", files[0], "--index", index)
    assert second.code == 1
    assert f"{index}: `rubrika ingest` (process {first.pid}, since 20" in second.err
    assert second.err.endswith("is changing this index; wait for it to end\n")
    _, said = first.communicate("\n", timeout=300)
    assert first.returncode == 0, said
    assert len(contents(index)) == 5


def test_a_category_that_is_not_there_changes_nothing(files: list[Path], tmp_path: Path) -> None:
    ingest(tmp_path / "index", files[0])
    for wrong in (("--from", 99, "--to", SHOES[0]), ("--from", SHOES[0], "--to", 99)):
        done = run_rubrika("relabel", *wrong, "--index", tmp_path / "index")
        assert done.code == 1
        assert "category 99" in done.err
    assert Manifest.read(tmp_path / "index").contents.products == 4


def test_moving_that_was_killed_at_its_end_can_be_repeated(files: list[Path], tmp_path: Path) -> None:
    ingest(tmp_path / "index", files[0])
    moving = ("relabel", "--from", SHOES[0], "--to", CASES[0], "--index", tmp_path / "index")
    assert run_rubrika(*moving).code == 0
    moved = Manifest.read(tmp_path / "index")
    replace(moved, contents=replace(moved.contents, products=None)).write(tmp_path / "index")
    assert run_rubrika(*moving).code == 0
    assert Manifest.read(tmp_path / "index") == moved
