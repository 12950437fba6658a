"""The card of an index says what is in it, how good it was found to be, and where that ends."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from conftest import Run
from rows import CASES, row

from rubrika.api import Index
from rubrika.retrieve.index_card import card_of

Rubrika = Callable[..., Run]


def test_the_card_is_in_the_folder_and_says_what_info_says(rubrika: Rubrika, copy: Path) -> None:
    done = rubrika("info", "--card", "--index", copy, "--json")
    text = Path(done.json["card"]).read_text(encoding="utf-8")
    said, found = done.json, json.loads((copy / "index.json").read_text(encoding="utf-8"))["calibration"]
    assert Path(done.json["card"]) == copy / "CARD.md"
    assert f"| products | {said['products']:,} |" in text
    assert f"Measured on {found['rows']:,} products in {found['groups']:,} groups" in text
    assert f"| automatic, at most 5% wrong | {said['automatic']['0.05']:.1%} |" in text
    assert said["vectors"]["text"]["sha256"] in text


def test_how_often_it_is_right_lies_within_its_interval(copy: Path) -> None:
    with Index.open(copy) as index:
        [line] = [line for line in card_of(index.info()).splitlines() if line.startswith("| right")]
    right, _, low, high = (float(number) for number in re.findall(r"([\d.]+) ?%", line))
    assert low < right < high


def test_a_card_changes_nothing_of_the_index(rubrika: Rubrika, copy: Path) -> None:
    rubrika("info", "--card", "--index", copy)
    assert rubrika("check", "--index", copy, "--json").json["problems"] == {}


def test_an_index_that_was_not_measured_says_so(index_of: Callable[..., Path], rubrika: Rubrika) -> None:
    index = index_of([row(1, "кеды"), row(2, "кроссовки"), row(3, "чехол", CASES), row(4, "чехол силиконовый", CASES)])
    card = Path(rubrika("info", "--card", "--index", index, "--json").json["card"]).read_text(encoding="utf-8")
    assert "Nothing is decided automatically" in card


def test_an_index_that_has_grown_but_was_not_measured_says_so(tmp_path: Path) -> None:
    shelf = [row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(65)]
    with Index.open(tmp_path / "index") as index:
        index.ingest(pd.DataFrame(shelf[:45]))
        index.ingest(pd.DataFrame(shelf[45:]))
        assert index.info().manifest.calibration.rows == 0
        assert "Nothing is decided automatically" in card_of(index.info())
