"""The card of a product: what whoever looks at a point in Qdrant's web UI reads, and what stays out of the way."""

from pathlib import Path

import pytest
import qdrant_edge as edge
from points import unit

from rubrika.index.categories import unique_labels
from rubrika.products.text import brand_of
from rubrika.store.base import Payload, Point
from rubrika.store.card import MAX_TEXT, OURS, card_of, keys_in_store, payload_of
from rubrika.store.edge import EdgeStore

BOOTS = {
    "product_id": 227,
    "title": "Ботинки мужские",
    "text": "Ботинки мужские\nБренд: Парленто\nс мехом",
    "brand": "Парленто",
    "category_id": 10151,
    "category": "Ботинки",
    "label": "Мужская обувь › Ботинки",
    "category_path": "Все категории->Обувь->Мужская обувь->Ботинки",
    "category_levels": ["Обувь", "Мужская обувь", "Ботинки"],
    "shop_title": "Радуга Бутик",
    "text_hash": "bee56dc03dc6734f",
    "image_url": "http://127.0.0.1:8080/train/227.jpg",
    "image_hash": "aabaaeaf5355bb70",
    "ingested_at": "2026-11-26T12:36:38+00:00",
    "label_source": "person",
}
# As the version before wrote it.
OLD = {key: value for key, value in BOOTS.items() if key not in ("text", "brand", "label")}


def test_a_card_begins_with_the_picture_and_the_title_and_has_no_root_and_no_hashes() -> None:
    card = card_of(BOOTS)
    assert list(card)[:6] == ["image_url", "title", "label", "category_path", "text", "brand"]
    assert card["category_path"] == "Обувь › Мужская обувь › Ботинки"
    assert card["text"] == "Бренд: Парленто · с мехом"
    assert list(card)[-1] == OURS
    hidden = {"text_hash", "image_hash", "ingested_at", "label_source", "category_path", "text"}
    assert card[OURS].keys() == hidden


def test_a_long_text_is_short_on_the_card_and_whole_under_it() -> None:
    text = "Ботинки мужские\n" + "подошва " * 200
    card = card_of(BOOTS | {"text": text})
    assert len(card["text"]) <= MAX_TEXT
    assert card["text"].endswith("…")
    assert card[OURS]["text"] == payload_of(card)["text"] == text


@pytest.mark.parametrize(
    "payload",
    [BOOTS, OLD, {}, {"category_id": 7, "title": "ваза"}, {"category_path": "Вазы", "text": "одна строка"}],
    ids=["whole", "old", "empty", "few keys", "nothing to hide"],
)
def test_a_card_is_read_as_the_payload_it_was_made_of(payload: Payload) -> None:
    assert payload_of(card_of(payload)) == payload


def test_what_somebody_else_wrote_stays_where_it_is_and_overrides_nothing() -> None:
    assert card_of(BOOTS | {"note": "хит"})["note"] == "хит"
    forged = card_of(BOOTS) | {OURS: {"category_id": "x", "title": 5, "text_hash": "0"}}
    assert payload_of(forged) | {"category_id": 10151, "title": "Ботинки мужские"} == payload_of(forged)
    assert payload_of({"title": "ваза", OURS: "чужое"}) == {"title": "ваза", OURS: "чужое"}


def test_a_store_keeps_the_order_and_finds_keys_of_cards_and_of_old_points(tmp_path: Path) -> None:
    store = EdgeStore.create(tmp_path / "edge", {"text": 8})
    rows = unit(2)
    store.upsert([Point(1, {"text": rows[0]}, BOOTS)])
    store._update(edge.UpdateOperation.upsert_points([edge.Point(2, {"text": rows[1].tolist()}, OLD)]))
    keys = ["category_path", "text_hash", "title"]
    found = [point.payload for page in store.scroll(payload=keys) for point in page]
    assert found == [{key: BOOTS[key] for key in keys}] * 2
    [record] = store._shard.retrieve([1], True, False)
    assert list(record.payload) == list(card_of(BOOTS))
    assert store.fetch([2])[2].payload == OLD
    store.close()


def test_keys_of_a_card_are_named_once_where_they_are_shown() -> None:
    assert keys_in_store(["category_id", "group"]) == ["category_id", "group", "rubrika.group"]


@pytest.mark.parametrize(
    ("text", "brand"),
    [("Сверло\nБренд: Bosch", "Bosch"), ("Drill\nBrand : Bosch\nbrand: X", "Bosch"), ("Бренд недели", ""), ("", "")],
)
def test_a_brand_is_what_the_text_names(text: str, brand: str) -> None:
    assert brand_of(text) == brand


def test_a_label_is_the_shortest_end_of_a_path_that_no_other_category_has() -> None:
    names = {
        1: "Все категории->Обувь->Женщинам->Кроссовки",
        2: "Все категории->Обувь->Мужчинам->Кроссовки",
        3: "Все категории->Кроссовки",
        4: "Все категории->Дом->Чайники",
        5: "Разное",
        6: "Все категории->Разное",
    }
    assert unique_labels(names) == {
        1: "Женщинам › Кроссовки",
        2: "Мужчинам › Кроссовки",
        3: "Кроссовки",
        4: "Чайники",
        5: "Разное (5)",
        6: "Разное (6)",
    }
