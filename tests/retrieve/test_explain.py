"""Explaining: what a person is shown of a prediction adds up, and says which neighbours and words it rests on."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from models import save_vit
from PIL import Image
from rows import row

from rubrika.errors import RubrikaError
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.index.manifest import VoteSettings
from rubrika.retrieve.explain import Explanation, explain
from rubrika.retrieve.search import Query

Rubrika = Callable[..., Run]

BOOTS = (1, "Все категории->Обувь->Женская обувь->Сапоги")
SHOES = (2, "Все категории->Обувь->Женская обувь->Туфли")
CASES = (3, "Все категории->Электроника->Чехлы")
ROWS = [
    *(row(10 + n, f"сапоги женские {of}", BOOTS) for n, of in enumerate(["зимние", "чёрные", "кожаные", "белые"])),
    *(row(20 + n, f"туфли женские {of}", SHOES) for n, of in enumerate(["лаковые", "чёрные", "кожаные", "белые"])),
    *(row(30 + n, f"чехол для телефона {of}", CASES) for n, of in enumerate(["синий", "чёрный", "кожаный", "белый"])),
    row(40, "подарок", BOOTS),
    row(41, "подарок", CASES),
]
COLOURS = {1: "red", 2: "green", 3: "blue"}


@pytest.fixture(scope="module")
def shop(rubrika: Rubrika, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Products of three categories, each with pictures of its own colour, and two gifts that only these tell apart."""
    import pandas as pd

    folder = tmp_path_factory.mktemp("shop")
    pd.DataFrame(ROWS).to_parquet(folder / "products.parquet")
    for name in ("images", "asked"):
        (folder / name).mkdir()
    for one in ROWS:
        Image.new("RGB", (32, 32), COLOURS[one["category_id"]]).save(folder / "images" / f"{one['product_id']}.png")
    save_vit(folder / "vit")
    done = rubrika(
        *("ingest", folder / "products.parquet", "--index", folder / "index"),
        *("--images", folder / "images", "--image-encoder", folder / "vit"),
        *("--cache", folder / "cache"),
    )
    assert done.code == 0, done.err
    return folder


@pytest.fixture(scope="module")
def opened(shop: Path) -> Iterator[Index]:
    with Index.open(Location(shop / "index", cache=shop / "cache")) as index:
        yield index


def by(index: Index, **weights: float) -> Index:
    """The same index, where other vectors vote."""
    return replace(index, manifest=replace(index.manifest, vote=VoteSettings(weights, top_k=4, temperature=8)))


def title(index: Index, text: str, picture: Path | None = None) -> Explanation:
    return explain(index, Query.of_content(index, text, picture))


def test_all_parts_add_up(opened: Index) -> None:
    for index in (by(opened, text=1), by(opened, joint=1), by(opened, image=1), by(opened, text=0.7, image=0.3)):
        found = explain(index, Query.of_product(index, 10))
        assert sum(share.share for share in found.alternatives) == pytest.approx(1, abs=1e-5)
        for share in found.alternatives:
            weights = [voter.weight for voter in found.neighbours if voter.category_id == share.category_id]
            assert sum(weights) == pytest.approx(share.share, abs=1e-5)
        shares, confidences = ([getattr(level, name) for level in found.levels] for name in ("share", "confidence"))
        assert (shares, confidences) == (sorted(shares, reverse=True), sorted(confidences, reverse=True))
        assert confidences[-1] == pytest.approx(found.confidence)
        assert shares[-1] == pytest.approx(found.predicted.share)
        assert {voter.vector for voter in found.neighbours} == set(index.manifest.vote.weights)


def test_a_parent_may_be_sure_when_the_leaf_is_not(opened: Index) -> None:
    index = by(opened, text=1)
    found = explain(index, Query.of_content(index, "женские кожаные"), top_k=8)
    assert {share.category_path for share in found.alternatives[:2]} == {BOOTS[1], SHOES[1]}
    shoes, women, leaf = found.levels
    assert (shoes.path, women.path) == ("Обувь", "Обувь->Женская обувь")
    assert women.share > 0.9 > leaf.share
    assert women.confidence > leaf.confidence


def test_the_word_that_decides_is_first(opened: Index) -> None:
    found = title(by(opened, text=1), "Туфли, чёрные — для телефона, туфли!")
    assert found.predicted.category_id == SHOES[0]
    assert found.words[0].word == "Туфли"
    assert found.words[0].share_lost > 0.3
    assert {word.word for word in found.words} == {"Туфли", "чёрные", "для", "телефона"}
    assert [word.share_lost for word in found.words] == sorted((w.share_lost for w in found.words), reverse=True)


def test_a_word_is_left_out_of_the_whole_text_of_a_stored_product(index_of: Callable[..., Path]) -> None:
    # By its title alone the last one looks like the cases, so that without its text no word would matter.
    texts = {"кеды": "беговая обувь с мягкой подошвой", "чехол": "чехол для телефона из пластика"}
    rows = [
        row(id, f"{word} {id}", SHOES if word == "кеды" else CASES) | described(f"{word} {id}", texts[word])
        for id in range(1, 41)
        for word in ["кеды" if id % 2 else "чехол"]
    ]
    odd = row(50, "чехол", SHOES) | described("чехол", texts["кеды"])
    with Index.open(Location(index_of([*rows, odd]))) as opened:
        found = explain(opened, Query.of_product(opened, 50))
    assert found.predicted.category_id == SHOES[0]
    assert [word.word for word in found.words] == ["чехол"]
    assert abs(found.words[0].similarity_lost) > 0.001


def described(title: str, text: str) -> dict[str, str]:
    return {"text_fields": json.dumps({"title": title, "description": text}, ensure_ascii=False)}


def test_where_the_vote_is_clear_similarity_ranks_the_words(opened: Index) -> None:
    index = by(opened, text=1)
    found = explain(index, Query.of_content(index, "сапоги женские зимние"), top_k=1)
    assert found.predicted.share == 1
    ranked = [(round(word.share_lost, 3), word.similarity_lost) for word in found.words]
    assert ranked == sorted(ranked, reverse=True)


def test_a_stored_product_does_not_vote_for_itself(opened: Index) -> None:
    index = by(opened, text=1)
    found = explain(index, Query.of_product(index, 10), top_k=100)
    assert len(found.neighbours) == len(ROWS) - 1
    assert 10 not in {voter.product_id for voter in found.neighbours}
    assert found.labelled == BOOTS[1]


def test_a_picture_tells_what_a_title_does_not(opened: Index, shop: Path) -> None:
    index = by(opened, text=0.4, image=0.6)
    for product, category in ((40, BOOTS), (41, CASES)):
        found = title(index, "подарок", shop / "images" / f"{product}.png")
        assert found.predicted.category_id == category[0]


def test_a_picture_alone_has_no_words(opened: Index, shop: Path) -> None:
    found = title(by(opened, text=0.5, image=0.5), "", shop / "images" / "30.png")
    assert found.predicted.category_id == CASES[0]
    assert {voter.vector for voter in found.neighbours} == {"image"}
    assert (found.title, found.words) == ("", [])


@pytest.mark.parametrize(
    ("votes", "text", "picture", "said"),
    [
        ("image", "сапоги", None, "a title has no image vector to search .* by; give an image"),
        ("text", "", "images/10.png", "an image has no text vector to search .* by; give a title"),
        ("text", " \t", None, "the title has no text; give a title with words, or an image"),
        ("image", "сапоги", "products.parquet", "give a JPEG, PNG or WEBP picture"),
        ("image", "сапоги", "nowhere.png", "give a JPEG, PNG or WEBP picture"),
    ],
)
def test_what_cannot_be_asked_is_said(
    opened: Index, shop: Path, votes: str, text: str, picture: str | None, said: str
) -> None:
    with pytest.raises(RubrikaError, match=said):
        title(by(opened, **{votes: 1.0}), text, shop / picture if picture else None)


def test_a_product_among_no_others_has_no_vote(rubrika: Rubrika, write: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    assert rubrika("ingest", write([row(1, "кеды"), row(2, "чехол", CASES)]), "--index", folder).code == 0
    with Index.open(Location(folder, cache=tmp_path), shared=False) as index:
        index.store.delete([2])
    done = rubrika("explain", "1", "--index", folder)
    assert (done.code, done.out) == (1, "")
    assert "has no other product that could vote" in done.err
    done = rubrika("explain", "--title", "кеды", "--image", "1.jpg", "--index", folder)
    assert "has no image vector, so an image cannot be used; give a title" in done.err


def test_a_person_reads_the_vote_the_levels_the_neighbours_and_the_words(rubrika: Rubrika, index: Path) -> None:
    done = rubrika("explain", "--title", "кроссовки женские белые", "--index", index, COLUMNS="120")
    assert done.code == 0, done.err
    for said in (
        "predicted as",
        "the vote",
        "level by level",
        "neighbours that voted",
        "without a word",
        "█",
        "Обувь ›",
    ):
        assert said in done.out
    assert "\x1b[" not in done.out


def test_json_says_it_in_plain_values(rubrika: Rubrika, index: Path) -> None:
    asked: dict[str, Any] = rubrika("explain", "--title", "кроссовки", "--top-k", "3", "--index", index, "--json").json
    assert asked["predicted_category_id"] == asked["alternatives"][0]["category_id"]
    assert asked["predicted_category_name"].endswith(asked["levels"][-1]["path"])
    assert len(asked["neighbours"]) == 3
    stored = rubrika("explain", asked["neighbours"][0]["product_id"], "--index", index, "--json").json
    assert stored["labelled"] == asked["neighbours"][0]["category_path"]
    assert set(stored) == set(asked)


def test_an_unknown_product_is_said(rubrika: Rubrika, index: Path) -> None:
    done = rubrika("explain", "999999999", "--index", index)
    assert (done.code, done.out) == (1, "")
    assert "product 999999999 is not in" in done.err


@pytest.mark.parametrize("arguments", [[], ["1", "--title", "кеды"], ["1", "--image", "1.jpg"]])
def test_wrong_usage_is_exit_code_2(rubrika: Rubrika, arguments: list[str]) -> None:
    assert rubrika("explain", *arguments).code == 2
