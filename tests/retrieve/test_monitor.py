"""Monitoring: what a run looks like, runs line by line in a file, and how far they are from the calibration set."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Run
from rows import row

from rubrika.api import Index
from rubrika.errors import InputError, ParameterError, RubrikaError
from rubrika.files import append_line
from rubrika.retrieve.confidence import Decisions
from rubrika.retrieve.drift import Drift, stability
from rubrika.retrieve.monitor import Tally

Rubrika = Callable[..., Run]
Monitored = tuple[Run, Path]


@pytest.fixture(scope="module")
def monitored(rubrika: Rubrika, market: Path, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Monitored:
    folder = tmp_path_factory.mktemp("monitored")
    options = ("-o", "r.parquet", "--details", "d.parquet", "--monitor", "runs.jsonl", "--max-error", 0.1, "--json")
    done = rubrika("classify", market / "test.parquet", "--index", index, *options, cwd=folder)
    assert done.code == 0, done.err
    return done, folder


def test_a_run_says_what_its_predictions_look_like(monitored: Monitored) -> None:
    done, folder = monitored
    details = pd.read_parquet(folder / "d.parquet")
    answer, counts = done.json, details["decision"].value_counts()
    assert answer["decisions"] == {name: counts.get(name, 0) for name in ("auto", "review", "new")}
    assert answer["confidence_histogram"] == np.histogram(details["confidence"], 10, (0, 1))[0].tolist()
    nearest = details["neighbours"].map(lambda hits: hits[0]["score"])
    assert answer["similarity_histogram"] == np.histogram(nearest, 20, (0, 1))[0].tolist()
    assert answer["median_similarity"] == pytest.approx(nearest.median(), abs=0.002)
    assert 0 < answer["unseen_words"] < 0.05
    assert answer["advice"] is None


def test_every_run_is_a_line(monitored: Monitored, market: Path, index: Path) -> None:
    done, folder = monitored
    [line] = map(json.loads, (folder / "runs.jsonl").read_text().splitlines())
    assert (line["file"], line["rows"], line["max_error"]) == (str(market / "test.parquet"), 150, 0.1)
    assert {name: line[name] for name in ("decisions", "unseen_words")}.items() <= done.json.items()
    manifest = json.loads((index / "index.json").read_text())
    assert (line["index_products"], line["calibrated"]) == (1_350, manifest["calibration"]["at"])


def test_products_like_those_calibrated_on_have_not_moved(rubrika: Rubrika, monitored: Monitored, index: Path) -> None:
    done = rubrika("info", "--index", index, "--drift", monitored[1] / "runs.jsonl", "--json")
    found = done.json["drift"]
    assert (found["runs"], found["products"]) == (1, 150)
    assert {shift["figure"]: shift["moved"] for shift in found["shifts"]} == dict.fromkeys(
        ("automatic", "confidence", "similarity", "unseen words"), "no"
    )
    assert found["advice"][0].startswith("nothing has moved")
    assert sum(found["calibration"]["confidence_histogram"]) == 1_350


@pytest.fixture(scope="module")
def strange(index: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Drift]:
    """Runs over products of another shop, and their drift."""
    folder = tmp_path_factory.mktemp("strange")
    titles = [f"гидроцикл {word} арт{place}" for place, word in enumerate(["ямаха", "брп", "кавасаки", "сидо"] * 25)]
    pd.DataFrame([row(place, title) for place, title in enumerate(titles)]).to_parquet(folder / "p.parquet")
    with Index.open(index) as opened:
        for _ in range(3):
            opened.classify_file(folder / "p.parquet", folder / "r.parquet", monitor=folder / "runs.jsonl")
        found = opened.info(drift=folder / "runs.jsonl", runs=2).drift
    assert found is not None
    return folder / "runs.jsonl", found


def test_other_products_have_moved_and_it_is_said_what_to_do(strange: tuple[Path, Drift]) -> None:
    _, found = strange
    shifts = {shift.figure: shift for shift in found.shifts}
    assert (found.runs, found.products) == (2, 200)
    assert shifts["similarity"].moved == shifts["unseen words"].moved == "much"
    assert shifts["similarity"].now < shifts["similarity"].then
    assert shifts["unseen words"].now > 0.5
    measure, label, learn = found.advice
    assert "rubrika evaluate" in measure
    assert "`new`" in label
    assert "rubrika learn" in learn


def test_half_a_line_is_passed_over_and_old_runs_do_not_count(
    strange: tuple[Path, Drift], index: Path, tmp_path: Path
) -> None:
    file, found = strange
    lines, runs = file.read_text().splitlines(), tmp_path / "runs.jsonl"
    before = json.dumps(json.loads(lines[0]) | {"calibrated": "2020-01-01T00:00:00+00:00"})
    runs.write_text("\n".join([*lines[:2], before, lines[2][:100], "{}", "не JSON", ""]))
    with Index.open(index) as opened:
        again = opened.info(drift=runs).drift
        assert again is not None
        assert (again.runs, again.shifts) == (2, found.shifts)
        runs.write_text(before)
        with pytest.raises(InputError, match="no run since the index was calibrated"):
            opened.info(drift=runs)
        with pytest.raises(InputError, match=r"nowhere: no such file; `rubrika classify FILE --monitor .*` makes one"):
            opened.info(drift=tmp_path / "nowhere")


def test_a_run_is_never_written_through_a_link(index: Path, market: Path, tmp_path: Path) -> None:
    mine, link = tmp_path / "mine.txt", tmp_path / "runs.jsonl"
    mine.write_text("мой список")
    link.symlink_to(mine)
    with Index.open(index) as opened:
        with pytest.raises(RubrikaError, match=r"runs.jsonl: a link, not a file"):
            opened.classify_file(market / "test.parquet", tmp_path / "r.parquet", monitor=link)
        with pytest.raises(RubrikaError, match="named twice"):
            opened.classify_file(market / "test.parquet", tmp_path / "r.parquet", monitor=tmp_path / "r.parquet")
        for other in ({"level": 1}, {"top_k": 3}, {"include_self": True}):
            with pytest.raises(ParameterError, match="`monitor`: runs are compared with the calibration"):
                opened.classify_file(market / "test.parquet", tmp_path / "r.parquet", monitor="runs", **other)
    with pytest.raises(RubrikaError, match="cannot be written"):
        append_line(link, "{}")
    assert mine.read_text() == "мой список"
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "runs.jsonl"}


def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    lines = [str(place) * 3_000 for place in range(10)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda line: append_line(tmp_path / "runs", line), lines * 10))
    assert sorted((tmp_path / "runs").read_text().splitlines()) == sorted(lines * 10)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full disk to try")
def test_a_full_disk_is_a_sentence() -> None:
    with pytest.raises(RubrikaError, match="/dev/full: cannot be written"):
        append_line(Path("/dev/full"), "{}")


def test_stability_is_the_index_of_the_books() -> None:
    # (0.6 - 0.5) · ln(0.6 / 0.5) + (0.4 - 0.5) · ln(0.4 / 0.5)
    assert stability(np.array([5e5, 5e5]), np.array([6e5, 4e5])) == pytest.approx(0.04055, abs=1e-4)
    assert stability(np.array([3.0, 4, 0]), np.array([3.0, 4, 0])) == 0
    assert np.isfinite(stability(np.array([3.0, 0]), np.array([0.0, 3])))


def test_figures_of_nothing_are_nothing() -> None:
    tally = Tally()
    tally.add(Decisions(np.zeros(1, np.float32), np.array(["new"])), np.array([-np.inf], np.float32))
    found = tally.figures()
    assert (found.products, found.median_similarity, found.unseen_words) == (1, None, None)
    assert sum(found.similarity_histogram) == 0
