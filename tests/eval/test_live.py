"""Scoring an index as it is, on labelled products, and failing when a figure is too low."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Run

from rubrika.api import Index
from rubrika.errors import InputError, ParameterError
from rubrika.eval.evaluate import NUMBERS
from rubrika.eval.metrics import metrics_of
from rubrika.inputs import bounds_of

Rubrika = Callable[..., Run]
NEW = 10**7  # what is added to the ids of stored products to make others


@pytest.fixture(scope="module")
def gold(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten stored products, and ninety with their texts under other ids, five of them with a wrong label."""
    table = pd.read_parquet(market / "train.parquet").sample(100, random_state=0).reset_index(drop=True)
    table.loc[10:, "product_id"] += NEW
    label = ["category_id", "category_name"]
    table.loc[10:14, label] = table.loc[90:94, label].to_numpy()
    path = tmp_path_factory.mktemp("gold") / "gold.parquet"
    table.to_parquet(path)
    return path


def test_an_index_is_scored_by_what_it_predicts(index: Path, gold: Path) -> None:
    with Index.open(index) as opened:
        found, asked = opened.evaluate_live(gold, max_error=0.1), opened.classify(gold, max_error=0.1)
    truth = pd.read_parquet(gold)["category_id"].to_numpy()
    assert found.metrics == metrics_of(truth, asked.categories)
    assert found.selective_risk.auto == (asked.decisions == "auto").mean() > 0
    assert 0.8 < found.metrics.accuracy < 1
    assert found.hierarchy.levels[0] >= found.metrics.accuracy
    answer = found.to_dict()
    assert (answer["rows"], answer["stored"], answer["k"]) == (100, 10, 10)
    assert answer["split"]["how"] == "live index"
    assert "sweep" not in answer


def test_gold_whose_ids_have_other_names_is_noted(rubrika: Rubrika, index: Path, gold: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(gold)
    first = frame["category_id"].min()
    frame.loc[frame["category_id"] == first, "category_name"] = "Все категории->Другое"
    frame.to_parquet(tmp_path / "other.parquet")
    assert "other names in the index" not in rubrika("evaluate", gold, "--index", index).err
    said = rubrika("evaluate", tmp_path / "other.parquet", "--index", index).err
    assert f"1 of its category ids, such as {first}, have other names in the index" in said


def test_its_report_has_no_sweep(index: Path, gold: Path, tmp_path: Path) -> None:
    few = pd.read_parquet(gold).head(15)
    few.to_parquet(tmp_path / "few.parquet")
    with Index.open(index) as opened:
        opened.evaluate_live(tmp_path / "few.parquet", report=tmp_path / "report")
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert "15 labelled products (10 of them stored)" in page
    assert "How many neighbours vote" not in page
    assert (tmp_path / "report/map.png").exists()
    assert not (tmp_path / "report/sweep.png").exists()


def test_groups_are_drawn_together(index: Path, gold: Path) -> None:
    with Index.open(index) as opened:
        found = [opened.evaluate_live(gold, group_by=column) for column in (None, "shop_id")]
        with pytest.raises(InputError, match="no readable labelled product"):
            opened.evaluate_live(_nothing(gold))
    assert found[0].metrics == found[1].metrics
    assert found[0].interval != found[1].interval


def _nothing(gold: Path) -> Path:
    path = gold.with_name("nothing.parquet")
    pd.read_parquet(gold).head(0).to_parquet(path)
    return path


def test_a_figure_below_its_bound_is_exit_code_1_after_the_result(rubrika: Rubrika, index: Path, gold: Path) -> None:
    bounds = ("--fail-below", "weighted_f1=0.999", "--fail-below", "confidence.auto=0.01", "--fail-below", "rows=100")
    done = rubrika("evaluate", gold, "--index", index, *bounds, "--max-error", 0.1, "--json")
    assert done.code == 1
    f1 = done.json["weighted_f1"]
    assert done.err.splitlines()[-1] == f"rubrika: --fail-below: weighted_f1 is {f1:.6g}, below 0.999"
    assert "10 of 100 products are stored" in done.err


def test_figures_of_which_more_is_better_can_be_bounded(index: Path, gold: Path) -> None:
    with Index.open(index) as opened:
        found = opened.evaluate_live(gold)
    numbers = {name for name, value in found.to_dict().items() if isinstance(value, int | float)} - {"stored"}
    assert set(NUMBERS) == numbers | {"confidence.auto", "confidence.coverage"}
    assert found.below(dict.fromkeys(NUMBERS, -1.0)) is None
    assert found.below({"rows": 101, "k": 10}) == "rows is 100, below 101"


@pytest.mark.parametrize(
    ("bound", "said"),
    [
        ("f1=0.9", "`fail_below` cannot take f1; a figure can be bounded if more of it is better: weighted_f1, macro"),
        ("confidence.auto_error=0.02", "`fail_below` cannot take confidence.auto_error; a figure can be bounded if"),
        ("confidence.calibration_error=0.1", "cannot take confidence.calibration_error"),
        ("weighted_f1", "`fail_below` is as weighted_f1=0.9, not weighted_f1"),
        ("weighted_f1=nan", "`fail_below` is as weighted_f1=0.9, not weighted_f1=nan"),
    ],
)
def test_a_bound_that_is_none_is_said(bound: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        bounds_of([bound])
    assert bounds_of(["weighted_f1=0.9", "confidence.auto=.5"]) == {"weighted_f1": 0.9, "confidence.auto": 0.5}


def test_wrong_usage_is_known_before_the_work(rubrika: Rubrika, gold: Path) -> None:
    options = ("--index", "nowhere", "--holdout", 0.2, "--vote", "text", "--fail-below", "weighted_f1=0.9")
    done = rubrika("evaluate", gold, *options)
    assert (done.code, done.out) == (2, "")
    assert "the --index nowhere is scored as it is; leave out --vote, --holdout" in done.err
