"""A made-up marketplace, an index of it, and the command line through its real entry point, shared by all tests."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from rubrika.sample import write_sample


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
    command = [str(Path(sys.executable).with_name("rubrika")), *map(str, arguments)]
    # A server that the tests of the store may use is not for commands that did not ask for one.
    quiet = {name: value for name, value in os.environ.items() if not name.startswith(("QDRANT_", "RUBRIKA_"))}
    done = subprocess.run(command, capture_output=True, text=True, env=quiet | environment, cwd=cwd, timeout=300)
    return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def rubrika() -> Callable[..., Run]:
    return run_rubrika


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market")
    write_sample(folder, seed=3, products=1_500)
    return folder


@pytest.fixture(scope="session")
def index(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "rubrika-index"
    done = run_rubrika("ingest", market / "train.parquet", "--index", folder)
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write rows to a parquet file of the test's own."""

    def _write(rows: Sequence[Mapping[str, object]], name: str = "products.parquet") -> Path:
        path = tmp_path / name
        pd.DataFrame(list(rows)).to_parquet(path)
        return path

    return _write
