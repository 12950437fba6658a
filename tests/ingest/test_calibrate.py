"""Calibration: every index knows from its own products how far it can be trusted, and notices when they change."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Run
from rows import row

from rubrika.api import Index
from rubrika.index.location import encoder_folder
from rubrika.index.manifest import Calibration, Manifest
from rubrika.ingest import calibrate, ingest
from rubrika.ingest.calibrate import part_held_out
from rubrika.ingest.diff import is_held_out
from rubrika.products.product import Product
from rubrika.retrieve.calibration import CalibrationSet
from rubrika.retrieve.guarantee import NEVER, Policy, threshold

Rubrika = Callable[..., Run]


def calibration_of(folder: Path) -> Calibration:
    return Manifest.read(folder).calibration


def test_an_index_is_calibrated_on_all_its_products_when_it_is_made(index: Path, market: Path) -> None:
    found, asked = calibration_of(index), CalibrationSet.load(encoder_folder(index, ""))
    train = pd.read_parquet(market / "train.parquet")
    assert (found.how, found.rows, found.products) == ("cross-fitted", len(train), len(train))
    assert asked is not None
    assert asked.ids.tolist() == sorted(train["product_id"])
    # Near duplicates that a person would group are mostly in one group of ours.
    assert 0.8 * train["group_key"].nunique() < found.groups < 1.1 * train["group_key"].nunique()
    curve = found.leaf.curve
    assert curve[-1][1] == len(train)
    assert threshold(found.leaf, Policy(0.2)) < NEVER


def test_no_product_is_its_own_neighbour_in_the_calibration(index: Path) -> None:
    asked = CalibrationSet.load(encoder_folder(index, ""))
    assert asked is not None
    assert np.nanmax(asked.hits["text"].scores) < 0.9999


def test_levels_of_the_tree_are_calibrated_too(index: Path) -> None:
    found = calibration_of(index)
    tops, leaves = found.levels[0].curve[-1], found.leaf.curve[-1]
    assert tops[1] == leaves[1]
    assert tops[2] < leaves[2]  # a parent is wrong less often


def test_details_name_the_deepest_sure_level(rubrika: Rubrika, market: Path, index: Path, tmp_path: Path) -> None:
    options = ("--index", index, "-o", tmp_path / "r.parquet", "--details", tmp_path / "d.parquet", "--max-error", 0.1)
    assert rubrika("classify", market / "test.parquet", *options).code == 0
    details = pd.read_parquet(tmp_path / "d.parquet")
    for found in details.itertuples():
        paths = [level["path"] for level in found.levels]
        assert found.sure is None or found.sure in paths
        assert found.sure != paths[-1] or found.decision == "auto"
    assert (details["sure"].notna() & (details["decision"] == "review")).any()


def test_a_small_index_promises_nothing_and_says_so(
    rubrika: Rubrika, write: Callable[..., Path], tmp_path: Path
) -> None:
    rows = [row(number, f"кроссовки {number}") for number in range(20)]
    rows += [row(100 + number, f"чехол {number}", (22, "Все категории->Чехлы")) for number in range(20)]
    file = write(rows)
    assert rubrika("ingest", file, "--index", tmp_path / "i").code == 0
    done = rubrika(
        "classify", file, "--index", tmp_path / "i", "-o", tmp_path / "r.parquet", "--details", tmp_path / "d.parquet"
    )
    assert done.code == 0
    assert "auto" not in set(pd.read_parquet(tmp_path / "d.parquet")["decision"])
    assert "nothing is automatic" in done.err


def test_many_products_are_held_out_from_learning_by_groups() -> None:
    counts = (40_000, 50_000, 160_000, 1_000_000)
    assert [part_held_out(count, True) for count in counts] == [0.0, 0.1, 0.05, 0.02]
    assert part_held_out(1_000_000, learned=False) == 1.0
    titles = [f"Салфетки {brand} {size} шт" for brand in ("Pap", "Star", "Luna", "Икс", "Норд") for size in range(40)]
    held = [is_held_out(Product(row, title, title, row), 0.5) for row, title in enumerate(titles)]
    assert all(len(set(held[start : start + 40])) == 1 for start in range(0, 200, 40))
    assert len({is_held_out(Product(1, f"товар {word}", "", 1), 0.5) for word in ["абв", "где", "ёжз", "ийк"]}) == 2


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the sample as if it were many products."""
    monkeypatch.setattr(calibrate, "CROSS_FIT", 500)
    monkeypatch.setattr(calibrate, "HELD_OUT", 300)
    monkeypatch.setattr(calibrate, "MOST", 1.0)


@pytest.mark.usefixtures("large")
def test_a_large_index_asks_what_it_held_out_and_later_what_came_since(market: Path, tmp_path: Path) -> None:
    table = pq.read_table(market / "train.parquet")
    first, rest = tmp_path / "first.parquet", tmp_path / "rest.parquet"
    pq.write_table(table.slice(0, 900), first)
    pq.write_table(table.slice(900), rest)
    with Index.open(tmp_path / "index") as opened:
        opened.ingest(first)
        found = calibration_of(tmp_path / "index")
        assert (found.how, found.products) == ("held out", 900)
        assert 200 < found.rows < 400
        learned = json.loads((encoder_folder(tmp_path / "index", "text") / "config.json").read_text())["products"]
        assert learned == 900 - found.rows
        opened.ingest(rest)
        grown = calibration_of(tmp_path / "index")
        assert (grown.products, grown.rows) == (1_350, found.rows + 450)
        again = opened.ingest(rest)
        assert (again.unchanged, calibration_of(tmp_path / "index")) == (450, grown)
        opened.learn()
        relearned = calibration_of(tmp_path / "index")
        assert (relearned.products, relearned.how) == (1_350, "held out")
        assert relearned.rows < grown.rows


def test_a_killed_first_ingest_is_calibrated_by_the_next(
    market: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = pq.read_table(market / "train.parquet").slice(0, 300)
    pq.write_table(few, tmp_path / "few.parquet")
    with Index.open(tmp_path / "index") as opened:
        with monkeypatch.context() as broken:
            broken.setattr(ingest, "calibrate", _killed)
            with pytest.raises(RuntimeError):
                opened.ingest(tmp_path / "few.parquet")
        assert calibration_of(tmp_path / "index").at is None
        opened.ingest(tmp_path / "few.parquet")
    assert calibration_of(tmp_path / "index").rows == 300


def _killed(*_: object) -> None:
    raise RuntimeError
