"""The shop of the review desk."""

from pathlib import Path

import pytest
from conftest import Made, copied, run_rubrika
from shop import Shop


@pytest.fixture(scope="session")
def classified(market: Path, index: Path, made_once: Made) -> Path:
    def make(folder: Path) -> None:
        folder.mkdir()
        tables = ("-o", folder / "result.parquet", "--details", folder / "details.parquet")
        done = run_rubrika("classify", market / "test.parquet", "--index", index, *tables)
        assert done.code == 0, done.err

    return made_once("classified", make)


@pytest.fixture(scope="session")
def audited(index: Path, made_once: Made) -> Path:
    """What `rubrika audit` said of the shop."""

    def make(folder: Path) -> None:
        folder.mkdir()
        done = run_rubrika("audit", "--index", index, "-o", folder / "audit.parquet")
        assert done.code == 0, done.err

    return made_once("audited", make) / "audit.parquet"


@pytest.fixture
def shop(market: Path, copy: Path, classified: Path, tmp_path: Path) -> Shop:
    copied(classified, tmp_path)
    return Shop(market, tmp_path)
