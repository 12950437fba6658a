"""The made-up marketplace: its bytes, its columns, its groups, its pictures and how hard it is."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from conftest import Run
from PIL import Image

from rubrika.sample import SampleSummary, write_sample

BASE_COLUMNS = ["product_id", "sale", "shop_id", "shop_title", "rating", "text_fields"]
CHARACTERISTICS = ("custom_characteristics", "defined_characteristics", "filters")


class Sample(NamedTuple):
    folder: Path
    summary: SampleSummary
    train: pd.DataFrame
    test: pd.DataFrame


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    summary = write_sample(folder)
    return Sample(folder, summary, pd.read_parquet(folder / "train.parquet"), pd.read_parquet(folder / "test.parquet"))


def parse(text_fields: str) -> dict[str, Any]:
    return json.loads(text_fields) if '{"title"' in text_fields else ast.literal_eval(text_fields)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictured(folder: Path, part: str) -> set[int]:
    return {int(path.stem) for path in (folder / "images" / part).glob("*.jpg")}


def test_same_seed_writes_same_bytes(tmp_path: Path) -> None:
    first = write_sample(tmp_path / "first", seed=7, products=300)
    second = write_sample(tmp_path / "second", seed=7, products=300)
    assert first == second
    assert bytes_of(tmp_path / "first") == bytes_of(tmp_path / "second")


def test_another_seed_writes_other_products(tmp_path: Path) -> None:
    titles = []
    for seed in (1, 2):
        write_sample(tmp_path / str(seed), seed=seed, products=300)
        train = pd.read_parquet(tmp_path / str(seed) / "train.parquet")
        titles.append({parse(text)["title"] for text in train["text_fields"]})
    assert len(titles[0] & titles[1]) < 0.1 * len(titles[0])


def test_too_few_products_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot fill the categories"):
        write_sample(tmp_path, products=50)


def test_a_folder_that_is_a_file_is_refused(rubrika: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / "market").write_text("мой список")
    for folder in (tmp_path / "market", tmp_path / "market" / "new"):
        done = rubrika("sample", folder)
        assert (done.code, done.out) == (1, "")
        assert re.search(r"market(/new)?: cannot be written \(.+\); choose another folder", done.err)
        assert "Traceback" not in done.err
    assert (tmp_path / "market").read_text() == "мой список"


def test_columns_have_the_real_names_and_types(sample: Sample) -> None:
    assert sorted(sample.train.columns) == sorted([*BASE_COLUMNS, "category_id", "category_name", "group_key"])
    assert sorted(sample.test.columns) == sorted(BASE_COLUMNS)
    for table in (sample.train, sample.test):
        types = table[["product_id", "shop_id", "rating", "sale"]].dtypes.astype(str).tolist()
        assert types == ["int64", "int64", "float64", "bool"]
        assert table["rating"].between(0, 5).all()
    assert sample.train["category_id"].dtype == np.int64


def test_summary_counts_what_was_written(sample: Sample) -> None:
    assert sample.summary.train == len(sample.train)
    assert sample.summary.test == len(sample.test)
    assert sample.summary.train + sample.summary.test == 3000
    assert 0.08 < sample.summary.test / 3000 < 0.12
    assert sample.summary.categories == sample.train["category_id"].nunique()
    assert sample.summary.pictures == len(pictured(sample.folder, "train")) + len(pictured(sample.folder, "test"))
    assert pd.concat([sample.train, sample.test])["product_id"].is_unique


def test_categories_form_a_tree_of_three_levels(sample: Sample) -> None:
    names = sample.train.drop_duplicates("category_id")["category_name"]
    assert len(names) >= 60
    assert names.is_unique
    assert all(re.fullmatch(r"Все категории(->[^>]+){3}", name) for name in names)


def test_rare_categories_hold_one_to_three_products(sample: Sample) -> None:
    sizes = sample.train["category_id"].value_counts()
    assert 1 in sizes.to_numpy()
    assert (sizes <= 3).sum() >= 5
    assert sizes.max() > 3 * sizes.median()


def test_both_notations_parse(sample: Sample) -> None:
    notations: Counter[bool] = Counter()
    for text in sample.train["text_fields"]:
        notations[text.startswith('{"title"')] += 1
        fields = parse(text)
        assert list(fields) == ["title", "description", "attributes", *CHARACTERISTICS]
        assert fields["title"]
    assert 0.45 < notations[True] / notations.total() < 0.55


def test_some_cards_lack_a_description_or_attributes(sample: Sample) -> None:
    cards = [parse(text) for text in sample.train["text_fields"]]
    assert 0.02 < np.mean([not card["description"] for card in cards]) < 0.09
    assert 0.2 < np.mean([not card["attributes"] for card in cards]) < 0.4
    assert any("&nbsp;" in card["description"] for card in cards)
    assert any("<img src=" in card["description"] for card in cards)


def test_near_duplicates_share_their_group(sample: Sample) -> None:
    train = sample.train.assign(description=[parse(text)["description"] for text in sample.train["text_fields"]])
    groups = train.groupby("group_key")
    assert (groups["category_id"].nunique() == 1).all()
    assert (groups["shop_id"].nunique() == 1).all()
    assert (groups["description"].nunique() == 1).all()
    assert (groups.size() > 1).mean() > 0.15


def test_near_duplicates_stay_on_one_side(sample: Sample) -> None:
    # The test set has no group_key, but a group shares its shop and everything but colour and size.
    sides = [
        {(row.shop_id, parse(row.text_fields)["title"].split(",")[0]) for row in table.itertuples()}
        for table in (sample.train, sample.test)
    ]
    shared = len(sides[0] & sides[1])
    assert shared < 0.03 * len(sides[1])


def test_pictures_open_and_some_are_missing(sample: Sample) -> None:
    for part, table in (("train", sample.train), ("test", sample.test)):
        numbers = pictured(sample.folder, part)
        assert numbers < set(table["product_id"])
    assert 0.03 < 1 - sample.summary.pictures / 3000 < 0.07
    for number in sorted(pictured(sample.folder, "test"))[:50]:
        with Image.open(sample.folder / "images" / "test" / f"{number}.jpg") as picture:
            picture.load()
            assert (picture.format, picture.size, picture.mode) == ("JPEG", (96, 96), "RGB")


def words_of(text_fields: str) -> str:
    card = parse(text_fields)
    facts = [f"{name} {' '.join(values)}" for field in CHARACTERISTICS for name, values in card[field].items()]
    description = unescape(re.sub(r"<[^>]+>", " ", card["description"]))
    return " ".join([card["title"], description, *card["attributes"], *facts])


def test_words_alone_get_most_categories_right_but_not_all(sample: Sample) -> None:
    pipeline = pytest.importorskip("sklearn.pipeline")
    text = pytest.importorskip("sklearn.feature_extraction.text")
    svm = pytest.importorskip("sklearn.svm")
    metrics = pytest.importorskip("sklearn.metrics")
    words = sample.train["text_fields"].map(words_of)
    keys = np.random.default_rng(1).permutation(sorted(set(sample.train["group_key"])))
    held_out = sample.train["group_key"].isin(keys[: len(keys) // 10])
    model = pipeline.make_pipeline(
        pipeline.make_union(
            text.TfidfVectorizer(),
            text.TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, max_features=60_000),
        ),
        svm.LinearSVC(),
    )
    model.fit(words[~held_out], sample.train["category_id"][~held_out])
    predicted = model.predict(words[held_out])
    assert 0.85 < metrics.f1_score(sample.train["category_id"][held_out], predicted, average="weighted") < 0.97
