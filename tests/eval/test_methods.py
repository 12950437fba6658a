"""Comparing with other methods, and measuring as others did, through `rubrika evaluate`."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Run
from PIL import Image
from rows import CASES, row

from rubrika.errors import RubrikaError
from rubrika.eval.heldout import Setting, Timer, read_labels
from rubrika.eval.methods import (
    MAX_VALIDATION_ROWS,
    NAMES,
    ValidationSplit,
    chosen_methods,
    gather,
    validation_rows,
)
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.products.reader import Reader
from rubrika.products.split import families, plain_split
from rubrika.progress import Silent

Rubrika = Callable[..., Run]
Write = Callable[..., Path]


@dataclass(frozen=True)
class Compared:
    """A comparison: of which file, what was printed, and its report."""

    file: Path
    run: Run
    report: Path

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        return {method["name"]: method for method in self.run.json["methods"]}


@pytest.fixture(scope="module")
def few(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("few") / "few.parquet"
    pd.read_parquet(market / "train.parquet").head(300).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def compared(few: Path, rubrika: Rubrika, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("report")
    options = ("--group-by", "group_key", "--methods", "all", "--report", folder, "--json")
    done = rubrika("evaluate", few, *options)
    assert done.code == 0, done.err
    return Compared(few, done, folder)


def test_every_method_has_its_row_and_rubrika_the_first(compared: Compared) -> None:
    *names, ensemble = compared.methods
    assert names == [
        "Rubrika",
        "kNN by text, mode",
        "kNN by text, weighted vote",
        "linear head on text",
        "MLP on text",
        "TF-IDF kNN",
        "TF-IDF + linear SVM",
        "fastText",
    ]
    assert ensemble.startswith("ensemble: ")


def test_rows_are_measured_as_rubrika_is(compared: Compared) -> None:
    said, own = compared.run.json, compared.methods["Rubrika"]
    assert (own["weighted_f1"], own["ci95"], own["macro_f1"]) == (said["weighted_f1"], said["ci95"], said["macro_f1"])
    assert own["difference"] is None
    # Without newcomers and with one vector, Rubrika is that vote.
    assert compared.methods["kNN by text, weighted vote"]["difference"] == [0, 0]
    assert compared.methods["kNN by text, mode"]["weighted_f1"] == said["sweep"][said["k"] - 1]["mode"]
    for method in compared.methods.values():
        low, high = method["ci95"]
        assert low <= method["weighted_f1"] <= high


def test_seconds_count_what_a_method_needs(compared: Compared) -> None:
    methods, learned = compared.methods, compared.run.json["seconds"]["learn and ingest"]
    assert methods["Rubrika"]["train_seconds"] == learned
    # Learned for the index, and once more to choose epochs.
    assert methods["MLP on text"]["train_seconds"] > learned
    assert methods["TF-IDF kNN"]["train_seconds"] < methods["MLP on text"]["train_seconds"]
    assert all(method["seconds_per_10k"] > 0 for method in methods.values())


def test_it_is_said_on_which_rows_things_were_chosen(compared: Compared) -> None:
    rehearsal, rows = compared.run.json["rehearsal"], compared.run.json["rows"]
    with_all = len(pd.read_parquet(compared.file)) - rows
    assert rehearsal["learned_from"] + rehearsal["chosen_on"] == with_all
    assert rehearsal["chosen_on"] == pytest.approx(with_all / 10, rel=0.1)


def test_the_report_shows_the_comparison_and_how_the_mlp_learned(compared: Compared) -> None:
    numbers = json.loads((compared.report / "report.json").read_text(encoding="utf-8"))
    page = (compared.report / "report.html").read_text(encoding="utf-8")
    curve = {method["name"]: method["curve"] for method in numbers["methods"]}["MLP on text"]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert all(0 <= epoch["weighted_f1"] <= 1 for epoch in curve)
    assert "Compared with other methods" in page
    assert "seconds per 10,000 products" in page
    assert f"chosen on {numbers['rehearsal']['chosen_on']} products of the training part" in page
    for name in ("loss", "learning"):
        assert f'<figure id="{name}">' in page
        with Image.open(compared.report / f"{name}.png") as image:
            assert image.width == 1_280


def test_a_person_reads_a_table(rubrika: Rubrika, few: Path) -> None:
    done = rubrika("evaluate", few, "--methods", "linear,tfidf-knn")
    table = done.out[done.out.index("methods on the same") :]
    assert "TF-IDF kNN" in table
    assert "fastText" not in table
    assert "no method has seen a held-out product" in " ".join(table.split())


def test_text_pictures_and_both_are_compared(rubrika: Rubrika, market: Path, write: Write) -> None:
    options = ("--images", market / "images" / "train", "--image-encoder", "efficientnet-lite0")
    few = pd.read_parquet(market / "train.parquet").groupby("category_id").head(12)
    few = few[few["category_id"].isin(few["category_id"].unique()[:8])]
    done = rubrika("evaluate", write(few.to_dict("records")), *options, "--methods", "knn,mlp", "--json")
    assert done.code == 0, done.err
    assert [method["name"] for method in done.json["methods"]] == [
        "Rubrika",
        *(f"kNN by {name}, mode" for name in ("text", "image", "joint", "text + image + joint")),
        *(f"kNN by {name}, weighted vote" for name in ("text", "image", "joint", "text + image + joint")),
        "MLP on text",
        "MLP on text + image",
    ]


def test_what_cannot_be_chosen_for_is_left_out_and_that_is_said(rubrika: Rubrika, write: Write) -> None:
    rows = [row(i, f"кроссовки {i}", group="а" if i < 9 else str(i)) for i in range(10)]
    rows += [row(i, f"чехол {i}", CASES, group="а" if i < 19 else str(i)) for i in range(10, 20)]
    done = rubrika("evaluate", write(rows), "--group-by", "group", "--methods", "linear,tfidf-knn", "--json")
    assert done.code == 0, done.err
    assert "linear: left out" in done.err
    assert [method["name"] for method in done.json["methods"]] == ["Rubrika", "TF-IDF kNN"]


def test_an_ensemble_of_one_is_left_out_and_that_is_said(rubrika: Rubrika, write: Write) -> None:
    rows = [row(i, f"кроссовки {i}") for i in range(20)] + [row(i, f"чехол {i}", CASES) for i in range(20, 40)]
    done = rubrika("evaluate", write(rows), "--methods", "tfidf-knn,ensemble", "--json")
    assert done.code == 0, done.err
    assert "ensemble is left out: it adds up at least 2 methods, and there is 1" in " ".join(done.err.split())
    assert [method["name"] for method in done.json["methods"]] == ["Rubrika", "TF-IDF kNN"]
    assert done.json["rehearsal"] is None


def test_for_methods_that_look_at_texts_no_encoder_is_learned_anew(rubrika: Rubrika, write: Write) -> None:
    rows = [row(i, f"кроссовки {i}") for i in range(20)] + [row(i, f"чехол {i}", CASES) for i in range(20, 40)]
    done = rubrika("evaluate", write(rows), "--methods", "tfidf-knn,tfidf-svm,ensemble", "--json")
    assert done.code == 0, done.err
    assert done.json["methods"][-1]["name"].startswith("ensemble: ")
    assert (done.json["rehearsal"]["tuned"], done.json["rehearsal"]["encoders"]) == (["ensemble"], False)


@pytest.mark.parametrize(
    ("tuned", "begins"),
    [
        (("linear",), "The epochs of linear heads were chosen on 1 products"),
        (("mlp", "ensemble"), "The epochs of MLPs, and the weights of the ensemble, were chosen on"),
        (("ensemble",), "The weights of the ensemble were chosen on"),
        (("linear", "mlp"), "The epochs of linear heads and MLPs were chosen on"),
    ],
)
def test_only_what_was_chosen_is_said_to_have_been(tuned: tuple[str, ...], begins: str) -> None:
    assert ValidationSplit(9, 1, tuned, encoders=True).describe().startswith(begins)
    assert "encoders too" in ValidationSplit(9, 1, tuned, encoders=True).describe()
    assert "encoders" not in ValidationSplit(9, 1, tuned, encoders=False).describe()


def test_only_what_is_looked_at_is_kept(index: Path, market: Path, tmp_path: Path) -> None:
    # Every row twice.
    reader = Reader([market / "train.parquet"] * 2, labelled=True)
    labels = read_labels(reader, Silent())
    split, groups = plain_split(labels.ids, 0.1, 0), families(labels.ids)
    setting = Setting(reader, tmp_path, None, None, 0.1, 0, Silent(), Timer())
    with Index.open(Location(index, cache=tmp_path)) as opened:
        few, both = (
            gather(opened, setting, labels, groups, split.held_out, texts, stored, {"text"})[:2]
            for texts, stored in ((False, set[str]()), (True, {"text"}))
        )
        again = opened.encoders.text.encode(both[0].texts)  # type: ignore[arg-type]
    assert not few[0].texts
    assert not few[0].vectors
    assert len(few[0].labels) == len(both[0].texts)
    assert np.array_equal(few[1].vectors["text"], both[1].vectors["text"])
    assert np.allclose(both[0].vectors["text"], again, atol=1e-6)


def test_rows_that_stand_twice_teach_nothing_of_themselves(rubrika: Rubrika, write: Write) -> None:
    labels = np.random.default_rng(0).permutation(np.arange(200) % 2)
    rows = [row(i, f"товар{i} вещь{i}", *([CASES] if label else [])) for i, label in enumerate(labels.tolist())]
    done = rubrika("evaluate", write(rows * 2), "--holdout", "0.3", "--json")
    assert done.code == 0, done.err
    assert done.json["rows"] == 120
    # There is nothing to know.
    assert done.json["weighted_f1"] < 0.7


def test_names_of_methods() -> None:
    assert chosen_methods("all") == NAMES
    assert chosen_methods("tfidf-svm, knn") == ("knn", "tfidf-svm")
    # An ensemble needs members.
    assert chosen_methods("ensemble") == ("knn", "linear", "mlp", "ensemble")
    with pytest.raises(RubrikaError, match="no method is named"):
        chosen_methods("")


def test_an_unknown_method_is_refused_with_the_known_ones(rubrika: Rubrika, market: Path) -> None:
    done = rubrika("evaluate", market / "train.parquet", "--methods", "knn,oracle")
    assert (done.code, done.out) == (2, "")
    said = " ".join(done.err.replace("│", " ").split())
    assert "no method oracle; there are knn, linear, mlp, tfidf-knn, tfidf-svm, fasttext, ensemble, and all" in said


def test_a_validation_split_keeps_a_tenth_apart_in_whole_groups() -> None:
    groups = np.repeat(np.arange(20_000), 3)
    train, apart = validation_rows(groups, 0)
    assert len(train) + len(apart) == MAX_VALIDATION_ROWS - MAX_VALIDATION_ROWS % 3
    assert len(apart) == pytest.approx(MAX_VALIDATION_ROWS / 10, rel=0.01)
    assert not set(groups[train]) & set(groups[apart])
    assert all(
        np.array_equal(one, other) for one, other in zip(validation_rows(groups, 0), (train, apart), strict=True)
    )
    assert not np.array_equal(validation_rows(groups, 1)[1], apart)


@pytest.mark.parametrize("seed", range(5))
def test_a_validation_split_passes_over_groups_that_are_too_large(seed: int) -> None:
    train, apart = validation_rows(np.concatenate([np.zeros(100_000, np.int64), np.arange(1, 50)]), seed)
    assert (len(train), len(apart)) == (45, 4)
    train, apart = validation_rows(np.concatenate([np.zeros(3_000, np.int64), np.arange(1, 1_000)]), seed)
    assert len(apart) == pytest.approx(400, abs=5)
    # Two groups are needed, however large they are.
    train, apart = validation_rows(np.repeat([0, 1], [100_000, 10]), seed)
    assert (len(train), len(apart)) == (100_000, 10)


def test_one_group_leaves_nothing_to_keep_apart() -> None:
    with pytest.raises(RubrikaError, match="belong to one group"):
        validation_rows(np.zeros(10, np.int64), 0)


def test_the_protocol_draws_rows_as_others_did_and_counts_the_mode(rubrika: Rubrika, few: Path) -> None:
    done = rubrika("evaluate", few, "--protocol", "kazanexpress", "--json")
    assert done.code == 0, done.err
    ids = pd.read_parquet(few)["product_id"].to_numpy(np.uint64)
    assert done.json["protocol"] == "kazanexpress"
    assert done.json["split"] == {"how": "rows", "seed": 0, "hash": plain_split(ids, 10_000 / 91_120, 0).hash}
    assert done.json["k"] == 5
    assert done.json["weighted_f1"] == done.json["sweep"][4]["mode"]
    assert done.json["ci95"][0] < done.json["weighted_f1"] < done.json["ci95"][1]
    assert "methods" not in done.json


def test_of_as_many_rows_as_theirs_as_many_are_held_out() -> None:
    assert plain_split(np.arange(91_120, dtype=np.uint64), 10_000 / 91_120, 0).held_out.sum() == 10_000


@pytest.mark.parametrize("option", [("--group-by", "group_key"), ("--holdout", "0.1"), ("--stratify",), ("--top-k", 9)])
def test_the_protocol_refuses_what_contradicts_it(rubrika: Rubrika, market: Path, option: tuple[object, ...]) -> None:
    done = rubrika("evaluate", market / "train.parquet", "--protocol", "kazanexpress", *option)
    assert (done.code, done.out) == (2, "")
    assert f"leave out {option[0]}" in " ".join(done.err.replace("│", " ").split())


def test_without_methods_and_protocol_nothing_is_said_of_them(evaluated: Path) -> None:
    said = json.loads((evaluated / "said.json").read_text(encoding="utf-8"))
    assert not {"methods", "protocol"} & said.keys()
