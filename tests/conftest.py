"""What all tests share: a made-up marketplace, indexes that are learned once a run, and the command line.

Learning an index takes seconds, copying its folder milliseconds. So a test that is not about learning takes one of
these, and one that needs something else of the kind makes it by `made_once`:

- `market`: the marketplace, 1,500 products with pictures, the same files for all workers. To be read only.
- `index`: an index of its train.parquet, to be read only, with what `rubrika ingest --json` said beside it, as
  `said.json`. Each worker has its own, as a store takes one process.
- `copy`: that index as `tmp_path / "index"`, a copy that the test may change; `copied(FOLDER, TO)` makes others.
- `evaluated`: what `rubrika evaluate --group-by group_key --json` says of it, as `said.json` beside the report.
- `index_of(rows)`: an index of these few rows, likewise as `tmp_path / "index"`, with the file that it came from beside
  it as `products.parquet`. However many tests ask, equal rows are learned from once.
- `rubrika(...)`: a command, through its real entry point, but in this process; where it matters that a command has one
  of its own (signals, limits, a first import), there is `run_process(...)`.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

# Workers share the cores already; threads on top of them, that spin while they wait for one another, make all slower.
# Nothing is asked of a model hub. All this is read when torch and transformers are imported.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}

import pandas as pd
import portalocker
import pytest

from rubrika import cli
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest
from rubrika.ingest.ingest import ingest
from rubrika.products.reader import Reader
from rubrika.sample import write_sample

Made = Callable[[str, Callable[[Path], object]], Path]
FROM_THE_NIGHT = pytest.mark.skipif("RUBRIKA_SLOW" not in os.environ, reason="takes longer: `make test-slow`")


@dataclass(frozen=True)
class Run:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out)


def run_rubrika(*arguments: object, cwd: Path | None = None, **environment: str) -> Run:
    """Run a command in this process."""
    out, err, code = StringIO(), StringIO(), 0
    with set_up(cwd, environment) as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["rubrika", *map(str, arguments)])
        # As a script, which this process is not: a wrong usage is told with the command's name.
        patch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Run(code, out.getvalue(), err.getvalue())


def run_process(*arguments: object, cwd: Path | None = None, **environment: str) -> Run:
    """Run a command as a process of its own."""
    command = [str(Path(sys.executable).with_name("rubrika")), *map(str, arguments)]
    with set_up(cwd, environment):
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return Run(done.returncode, done.stdout, done.stderr)


@contextmanager
def set_up(cwd: Path | None, environment: Mapping[str, str]) -> Iterator[pytest.MonkeyPatch]:
    """Where a command runs, and with which environment."""
    with pytest.MonkeyPatch.context() as patch:
        # A server that the tests of the store may use is not for commands that did not ask for one.
        for name in [name for name in os.environ if name.startswith(("QDRANT_", "RUBRIKA_"))]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(cwd or Path.cwd())
        yield patch


def copied(folder: Path, to: Path) -> Path:
    """Copy an index, or a folder with one in it; most of its files is room without content, which stays so."""
    to.mkdir(exist_ok=True)
    subprocess.run(["cp", "-R", f"{folder}/.", to], check=True)
    return to


@pytest.fixture(scope="session")
def rubrika() -> Callable[..., Run]:
    return run_rubrika


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A folder by its name, which the first to ask for it in any worker of this run makes, while others wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def _made_once(name: str, make: Callable[[Path], object]) -> Path:
        folder = shared / "made-once" / name
        folder.parent.mkdir(exist_ok=True)
        with folder.with_name(f"{name}.lock").open("a") as done:
            portalocker.lock(done, portalocker.LockFlags.EXCLUSIVE)
            # As far as others have written it while this one waited.
            if not done.seek(0, os.SEEK_END):
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.write("made")
        return folder

    return _made_once


@pytest.fixture(scope="session")
def market(made_once: Made) -> Path:
    return made_once("market", lambda folder: write_sample(folder, seed=3, products=1_500))


@pytest.fixture(scope="session")
def index(market: Path, made_once: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(folder: Path) -> None:
        done = run_rubrika("ingest", market / "train.parquet", "--index", folder / "rubrika-index", "--json")
        assert done.code == 0, done.err
        (folder / "said.json").write_text(done.out, encoding="utf-8")

    made = made_once("index", make)
    return copied(made, tmp_path_factory.mktemp("index")) / "rubrika-index"


@pytest.fixture(scope="session")
def evaluated(market: Path, made_once: Made) -> Path:
    def make(folder: Path) -> None:
        options = ("--group-by", "group_key", "--report", folder, "--json")
        done = run_rubrika("evaluate", market / "train.parquet", *options)
        assert done.code == 0, done.err
        (folder / "said.json").write_text(done.out, encoding="utf-8")

    return made_once("evaluated", make)


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    return copied(index, tmp_path / "index")


@pytest.fixture
def index_of(made_once: Made, tmp_path: Path) -> Callable[[Sequence[Mapping[str, object]]], Path]:
    def make(rows: Sequence[Mapping[str, object]], folder: Path) -> None:
        folder.mkdir()
        pd.DataFrame(list(rows)).to_parquet(folder / "products.parquet")
        learned(folder / "index", folder / "products.parquet")

    def _index_of(rows: Sequence[Mapping[str, object]]) -> Path:
        name = hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]
        copied(made_once(name, lambda folder: make(rows, folder)), tmp_path)
        # It came from the file beside it; the next ingest of it looks at its rows one by one.
        index, came_from = tmp_path / "index", str(tmp_path / "products.parquet")
        manifest = Manifest.read(index)
        replace(manifest, contents=replace(manifest.contents, sources=(came_from,), fingerprint=None)).write(index)
        return index

    return _index_of


def learned(folder: Path, file: Path) -> None:
    # A learned encoder needs no cache.
    ingest(Location(folder, cache=folder), Reader([file], labelled=True))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write rows to a parquet file of the test's own."""

    def _write(rows: Sequence[Mapping[str, object]], name: str = "products.parquet") -> Path:
        path = tmp_path / name
        pd.DataFrame(list(rows)).to_parquet(path)
        return path

    return _write
