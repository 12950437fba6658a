"""Tables in an object store are read as those of this machine; here the store is memory, behind the same interface."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import copied, run_rubrika

from rubrika.errors import InputError
from rubrika.inputs import paths_of
from rubrika.products import remote
from rubrika.products.reader import Reader
from rubrika.products.remote import located

pytest.importorskip("upath", reason="object stores need universal-pathlib")


@pytest.fixture
def bucket(market: Path) -> Iterator[Path]:
    """A folder of an object store with tables in several formats, of 300 products in all."""
    folder, products = located("memory://shop/catalogue"), pd.read_parquet(market / "train.parquet")[:300]
    folder.mkdir(parents=True)
    with (folder / "one.parquet").open("wb") as file:
        products[:100].to_parquet(file)
    with (folder / "three.csv").open("wb") as file:
        products[100:200].to_csv(file, index=False)
    with (folder / "two.csv.gz").open("wb") as file:
        products[200:].to_csv(file, index=False, compression="gzip")
    yield folder
    folder.fs.rm("/shop", recursive=True)  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["memory://shop/catalogue", "memory:/shop/cata*/*"])
def test_a_folder_and_a_pattern_are_the_tables_there(place: str, bucket: Path, market: Path) -> None:
    files = paths_of(place)
    assert [file.name for file in files] == ["one.parquet", "three.csv", "two.csv.gz"]
    found = [product.id for batch in Reader(files, labelled=True) for product in batch.products]
    assert found == pd.read_parquet(market / "train.parquet")["product_id"][:300].tolist()


def test_ingest_notices_a_file_that_changed_and_classify_reads_one(
    bucket: Path, index: Path, market: Path, tmp_path: Path
) -> None:
    folder = copied(index, tmp_path / "index")
    assert run_rubrika("ingest", "memory://shop/catalogue", "--index", folder).code == 0
    again = run_rubrika("ingest", "memory://shop/catalogue", "--index", folder)
    assert "300 read" in again.out
    assert "unchanged" in again.out
    products = pd.read_parquet(market / "train.parquet")[:100]
    products.loc[products.index[0], "rating"] = 1.25
    with (bucket / "one.parquet").open("wb") as file:
        products.to_parquet(file)
    assert "1 updated" in run_rubrika("ingest", "memory://shop/catalogue", "--index", folder).out
    done = run_rubrika(
        "classify", "memory://shop/catalogue/one.parquet", "--index", folder, "-o", tmp_path / "result.parquet"
    )
    assert done.code == 0, done.err
    assert pq.read_table(tmp_path / "result.parquet").num_rows == 100


def test_what_is_not_there_or_cannot_be_read_is_one_sentence(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(place: str) -> str:
        with pytest.raises(InputError) as caught:
            Reader(paths_of(place), labelled=True).check()
        return str(caught.value)

    assert error("memory://shop/none.parquet") == "memory://shop/none.parquet: no such file; check the address"
    with (bucket / "sheet.xlsx").open("wb") as file:
        file.write(b"PK")
    assert "parquet, CSV and JSON lines are read" in error("memory://shop/catalogue/sheet.xlsx")
    monkeypatch.setattr(remote, "find_spec", lambda package: None if package == "s3fs" else package)
    assert error("s3://shop/a.parquet") == "s3://shop/a.parquet: reading it needs s3fs; pip install s3fs"
