"""Audit: labels that the neighbours contradict come first, with their reasons; near duplicates at odds are paired."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Run
from models import save_vit
from rows import CASES, SHOES, row

from rubrika.index.manifest import Manifest, VoteSettings
from rubrika.retrieve.audit import (
    Confusion,
    Duplicates,
    LabelIssues,
    confusions,
    near_duplicates,
    same_text,
    similarity_margin,
)
from rubrika.sample import write_sample
from rubrika.store.base import Hits

Rubrika = Callable[..., Run]
Write = Callable[..., Path]

FLIPS = 20
BOOTS, CATS = 2, 3


def flip(file: Path, output: Path) -> list[int]:
    """Give some products, of categories that have others left, the label of another branch of the tree."""
    table = pd.read_parquet(file)
    branch = table["category_name"].str.split("->").str[1]
    common = table.index[table.groupby("category_id")["product_id"].transform("count") > 12]
    rows = np.random.default_rng(0).choice(common, FLIPS, replace=False)
    for place in rows:
        others = table[branch != branch[place]]
        other = others.iloc[place % len(others)]
        table.loc[place, ["category_id", "category_name"]] = other[["category_id", "category_name"]].tolist()
    table.to_parquet(output)
    return table.loc[rows, "product_id"].tolist()


@pytest.fixture(scope="module")
def flipped(rubrika: Rubrika, market: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """An index of the marketplace in which some labels are wrong, and whose they are."""
    folder = tmp_path_factory.mktemp("flipped")
    wrong = flip(market / "train.parquet", folder / "train.parquet")
    done = rubrika("ingest", folder / "train.parquet", "--index", folder / "index")
    assert done.code == 0, done.err
    return folder, wrong


@pytest.fixture(scope="module")
def audited(rubrika: Rubrika, flipped: tuple[Path, list[int]]) -> Run:
    folder, _ = flipped
    outputs = ("-o", folder / "audit.parquet", "--duplicates", folder / "pairs.parquet")
    return rubrika("audit", "--index", folder / "index", *outputs, "--json")


def test_wrong_labels_come_first(audited: Run, flipped: tuple[Path, list[int]]) -> None:
    folder, wrong = flipped
    assert audited.code == 0, audited.err
    found = pd.read_parquet(folder / "audit.parquet")
    assert set(found["product_id"][:5]) <= set(wrong)
    assert len(set(found["product_id"][:10]) & set(wrong)) >= 8
    assert found["confidence"].is_monotonic_decreasing
    assert found["confidence"].between(0, 1, inclusive="right").all()


def test_a_suspect_shows_both_categories_and_who_speaks_for_which(
    audited: Run, flipped: tuple[Path, list[int]]
) -> None:
    folder, _ = flipped
    given = pd.read_parquet(folder / "train.parquet").set_index("product_id")
    for one in pq.read_table(folder / "audit.parquet").to_pylist():
        own = given.loc[one["product_id"]]
        assert (one["category_id"], one["category_name"]) == (own["category_id"], own["category_name"])
        assert one["suggested_category_id"] != one["category_id"]
        speakers = [each for each in one["neighbours"] if each["category_id"] == one["suggested_category_id"]]
        assert given.loc[speakers[0]["product_id"], "category_name"] == one["suggested_category_name"]
        ids = [each["product_id"] for each in one["neighbours"]]
        assert one["product_id"] not in ids
        assert len(ids) == len(set(ids)) == 10
        assert {each["vector"] for each in one["neighbours"]} == {"text"}


def test_the_answer_counts(audited: Run, flipped: tuple[Path, list[int]]) -> None:
    folder, _ = flipped
    answer = audited.json
    assert answer["products"] == len(pd.read_parquet(folder / "train.parquet"))
    assert answer["suspects"] == pq.read_metadata(folder / "audit.parquet").num_rows
    assert answer["duplicates"] == pq.read_metadata(folder / "pairs.parquet").num_rows
    assert answer["output"] == str(folder / "audit.parquet")
    assert answer["seconds"] > 0
    assert sum(pair["there"] + pair["back"] for pair in answer["confused"]) <= answer["suspects"]


def test_auditing_again_gives_the_same_bytes(
    rubrika: Rubrika, audited: Run, flipped: tuple[Path, list[int]], tmp_path: Path
) -> None:
    folder, _ = flipped
    outputs = ("-o", tmp_path / "audit.parquet", "--duplicates", tmp_path / "pairs.parquet")
    assert rubrika("audit", "--index", folder / "index", *outputs).code == 0
    for name in ("audit.parquet", "pairs.parquet"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_person_reads_tables_of_as_many_rows_as_asked(
    rubrika: Rubrika, flipped: tuple[Path, list[int]], tmp_path: Path
) -> None:
    folder, _ = flipped
    done = rubrika("audit", "--index", folder / "index", "-o", tmp_path / "a.parquet", "--limit", "2", COLUMNS="200")
    suspects, confused = done.out.split("pairs of categories confused most")
    assert suspects.startswith("labels that their neighbours contradict")
    shown = [str(id) in suspects for id in pd.read_parquet(tmp_path / "a.parquet")["product_id"]]
    assert shown == [True] * 2 + [False] * (len(shown) - 2)
    assert "→" in confused
    without = rubrika("audit", "--index", folder / "index", "-o", tmp_path / "a.parquet", "--limit", "0")
    assert without.out.startswith(f"{tmp_path / 'a.parquet'}: ")


@pytest.fixture(scope="module")
def pictured(rubrika: Rubrika, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with the vectors text, image and joint, the pictures being looked at by a tiny ViT."""
    folder = tmp_path_factory.mktemp("pictured")
    write_sample(folder, seed=5, products=200)
    save_vit(folder / "vit")
    images = ("--images", folder / "images" / "train", "--image-encoder", folder / "vit", "--cache", folder / "cache")
    done = rubrika("ingest", folder / "train.parquet", "--index", folder / "index", *images)
    assert done.code == 0, done.err
    return folder / "index"


@pytest.mark.parametrize("weights", [{"joint": 1.0}, {"text": 0.6, "image": 0.4}])
def test_votes_over_text_and_picture_are_audited_too(
    rubrika: Rubrika, pictured: Path, tmp_path: Path, weights: dict[str, float]
) -> None:
    replace(Manifest.read(pictured), vote=VoteSettings(weights)).write(pictured)
    done = rubrika("audit", "--index", pictured, "-o", tmp_path / "audit.parquet", "--json")
    assert done.code == 0, done.err
    assert done.json["suspects"] > 0
    suspects = pq.read_table(tmp_path / "audit.parquet").to_pylist()
    assert {each["vector"] for one in suspects for each in one["neighbours"]} == set(weights)


def test_many_exact_duplicates_still_have_ten_others(rubrika: Rubrika, write: Write, tmp_path: Path) -> None:
    rows = [row(id, "кроссовки беговые") for id in range(1, 31)] + [row(31, "кроссовки беговые", CASES)]
    rows += [row(id, f"чехол силиконовый {id}", CASES) for id in range(40, 60)]
    index = ("--index", tmp_path / "index")
    assert rubrika("ingest", write(rows), *index).code == 0
    outputs = ("-o", tmp_path / "audit.parquet", "--duplicates", tmp_path / "pairs.parquet")
    assert rubrika("audit", *index, *outputs, "--json").json["suspects"] == 1
    [suspect] = pq.read_table(tmp_path / "audit.parquet").to_pylist()
    assert (suspect["product_id"], suspect["category_id"], suspect["suggested_category_id"]) == (31, 22, 11)
    assert suspect["confidence"] == pytest.approx(1, abs=0.01)
    assert len(suspect["neighbours"]) == 10
    pairs = pq.read_table(tmp_path / "pairs.parquet").to_pylist()
    assert {pair["other_product_id"] for pair in pairs} == {31}
    assert {(pair["title"], pair["category_name"]) for pair in pairs} == {("кроссовки беговые", SHOES[1])}


def test_one_category_alone_is_not_audited(rubrika: Rubrika, write: Write, tmp_path: Path) -> None:
    rows = [row(1, "кроссовки"), row(2, "кеды"), row(3, "чехол", CASES)]
    index = ("--index", tmp_path / "index")
    assert rubrika("ingest", write(rows), *index).code == 0
    for products, what in (([3], "all its products are of one category"), ([1, 2], "there are no products in it")):
        assert rubrika("delete", *products, *index).code == 0
        done = rubrika("audit", *index, "-o", tmp_path / "audit.parquet")
        assert (done.code, done.out) == (1, "")
        assert what in done.err
        assert "Traceback" not in done.err
    assert not list(tmp_path.glob("audit.parquet*"))


def test_a_place_that_cannot_be_written_is_one_sentence(rubrika: Rubrika, index: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = rubrika("audit", "--index", index, "-o", tmp_path / "file" / "audit.parquet")
    assert done.code == 1
    assert "cannot be written" in done.err
    assert "Traceback" not in done.err


def hits(*found: Sequence[tuple[int, float, int]]) -> Hits:
    return Hits.of(found, max(map(len, found)))


def test_every_neighbour_speaks_with_its_similarity() -> None:
    found = hits([(1, 1.0, BOOTS), (2, 0.5, CATS), (3, 0.5, CATS), (4, 0.5, CATS)], [(5, 0.8, BOOTS)])
    both = {"text": found, "image": hits([(9, 1.0, BOOTS)], [])}
    boots, cats = np.array([BOOTS, BOOTS]), np.array([CATS, CATS])
    assert similarity_margin({"text": found}, boots, cats, {"text": 1.0}).tolist() == pytest.approx(
        [(1.5 - 1) / 4, -0.8]
    )
    # The second product has no picture: its text alone speaks.
    weighed = similarity_margin(both, boots, cats, {"text": 3.0, "image": 1.0})
    assert weighed.tolist() == pytest.approx([(3 * 0.125 - 1) / 4, -0.8])


def test_a_pair_of_duplicates_counts_once_the_most_alike_first() -> None:
    ids, categories = np.array([7, 8], np.uint64), np.array([BOOTS, CATS])
    near = near_duplicates(
        ids, categories, hits([(8, 0.99, CATS), (5, 0.985, CATS), (9, 0.5, CATS)], [(7, 0.99, BOOTS)])
    )
    texts = same_text([(ids, categories, ["", ""]), (np.array([3, 2, 1], np.uint64), np.array([1, 1, 2]), ["a"] * 3)])
    found = Duplicates.joined([near, texts])
    assert found.ids.tolist() == [[1, 3], [7, 8], [5, 7]]
    assert found.categories.tolist() == [[2, 1], [BOOTS, CATS], [CATS, BOOTS]]
    assert found.similarity.tolist() == pytest.approx([1, 0.99, 0.985])


def test_both_directions_of_a_confusion_add_up() -> None:
    labelled, suggested = np.array([1, 2, 2, 3, 1]), np.array([2, 1, 1, 1, 4])
    suspects = LabelIssues(np.arange(5, dtype=np.uint64), labelled, suggested, np.ones(5, np.float32), {})
    paths = {1: "обувь", 2: "сапоги", 3: "кеды", 4: "чехлы"}
    first, second = confusions(suspects, paths, limit=2)
    assert first == Confusion(2, "сапоги", 1, "обувь", there=2, back=1)
    assert second == Confusion(3, "кеды", 1, "обувь", there=1, back=0)
