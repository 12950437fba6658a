"""A store that fails at any call, and a disk that is full: a sentence each time, and in the end nothing is missing."""

import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import run_rubrika
from index_contents import contents
from rows import CASES, row

from rubrika.errors import StoreError
from rubrika.index import folder as opening
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest
from rubrika.ingest.ingest import ingest
from rubrika.products.reader import Reader
from rubrika.store.base import Store
from rubrika.store.connection import Recall
from rubrika.store.open import open_store

Write = Callable[..., Path]
STRIKE = Path(__file__).parents[1] / "interrupted.py"
SHELF = [row(id, f"кроссовки {id}") for id in (1, 2, 3)] + [row(id, f"чехол {id}", CASES) for id in (4, 5, 6)]
# One of each kind of change; what is not here is deleted.
CHANGED = [SHELF[0], row(2, "кеды"), row(3, "кроссовки 3", CASES), SHELF[3] | {"rating": 1.5}, row(7, "сапоги")]
MEGABYTE = 2**20


class Failing:
    """A store of which one call fails, before or after it was done."""

    def __init__(self, store: Store, sound: int, done: bool) -> None:
        self._store, self._sound, self._done = store, sound, done

    @property
    def recall(self) -> dict[str, Recall]:
        return self._store.recall

    @property
    def remarks(self) -> list[str]:
        return self._store.remarks

    @property
    def wrote(self) -> bool:
        return self._store.wrote

    def __setattr__(self, name: str, value: object) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            setattr(self._store, name, value)

    def __getattr__(self, name: str) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            self._sound -= name != "close"
            fails = self._sound == -1 and name != "close"
            answer = None if fails and not self._done else getattr(self._store, name)(*given, **named)
            if fails:
                raise StoreError(f"no {name}")
            return answer

        return call


@pytest.fixture
def shelf(index_of: Callable[..., Path]) -> Path:
    return index_of(SHELF)


@pytest.fixture
def changed(write: Write) -> Path:
    return write(CHANGED, "changed.parquet")


def change(folder: Path, file: Path) -> None:
    ingest(Location(folder, cache=folder), Reader([file], labelled=True, batch_rows=2), delete_missing=True)


@pytest.fixture
def undisturbed(shelf: Path, changed: Path, tmp_path: Path) -> Path:
    """What the index must be in the end."""
    folder = Path(shutil.copytree(shelf, tmp_path / "undisturbed"))
    change(folder, changed)
    return folder


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, but said to have failed"])
def test_every_call_of_the_store_may_fail(
    shelf: Path, changed: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    opened, interrupted = list[Failing](), False

    def failing(sound: int, *at: Any, **how: Any) -> Failing:  # noqa: ANN401 - what `open_store` takes
        opened.append(Failing(open_store(*at, **how), sound, done))
        return opened[-1]

    for sound in range(100):
        monkeypatch.setattr(opening, "open_store", partial(failing, sound))
        try:
            change(shelf, changed)
        except StoreError:
            # Until something was written, the index is what it was.
            interrupted |= any(store.wrote for store in opened)
            assert (Manifest.read(shelf).contents.products is None) == interrupted
        else:
            break
    monkeypatch.undo()
    assert sound > 5
    assert interrupted
    assert contents(shelf) == contents(undisturbed)
    assert Manifest.read(shelf) == Manifest.read(undisturbed)


def test_files_that_may_not_grow_are_said_until_they_may(write: Write, tmp_path: Path) -> None:
    file, folder = write(SHELF), tmp_path / "index"
    ingest(Location(tmp_path / "undisturbed", cache=tmp_path), Reader([file], labelled=True))
    for limit in (50, MEGABYTE, 8 * MEGABYTE):
        done = subprocess.run(
            [sys.executable, "-m", "rubrika.cli", "ingest", file, "--index", folder],
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("rubrika: ")
        assert "File too large" in done.stderr.splitlines()[-1]
    ingest(Location(folder, cache=tmp_path), Reader([file], labelled=True))
    assert contents(folder) == contents(tmp_path / "undisturbed")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, whose size `resize` changes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400m", "none", folder]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def resize(disk: Path, free: int) -> None:
    size = shutil.disk_usage(disk).used + free
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def test_a_disk_that_is_nearly_full_is_said_in_time(shelf: Path, changed: Path, undisturbed: Path, disk: Path) -> None:
    index = Path(shutil.copytree(shelf, disk / "index"))
    resize(disk, MEGABYTE)
    done = run_rubrika("ingest", changed, "--delete-missing", "--index", index)
    assert done.code == 1
    assert f"{index}: its disk has 1 MB left, and writing takes 96 to be safe; make room" in done.err
    resize(disk, 400 * MEGABYTE)
    assert run_rubrika("ingest", changed, "--delete-missing", "--index", index).code == 0
    assert contents(index) == contents(undisturbed)


@pytest.mark.parametrize("free", [0, 100_000, 5 * MEGABYTE, 33 * MEGABYTE])
def test_a_disk_that_others_fill_meanwhile_harms_nothing(
    shelf: Path, changed: Path, undisturbed: Path, disk: Path, free: int
) -> None:
    index = Path(subprocess.run(["cp", "-a", "--sparse=always", shelf, disk / "index"], check=True).args[-1])
    resize(disk, free)
    command = ["ingest", changed, "--delete-missing", "--index", index]
    done = subprocess.run([sys.executable, STRIKE, "-", "crowded", *command], capture_output=True, text=True)
    # The engine maps its files into memory: where the disk has no room for them, the system kills the process.
    assert done.returncode <= 1
    assert "Traceback" not in done.stderr
    resize(disk, 400 * MEGABYTE)
    assert run_rubrika(*command).code == 0
    assert contents(index) == contents(undisturbed)
    assert run_rubrika("check", "--index", index).code == 0
