"""The review desk: what waits, what people decide, and that each decision counts, is kept, and can be taken back."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from conftest import run_rubrika, set_up
from rows import CASES, SHOES, row
from service import serving
from shop import Shop, counted

from rubrika.api import Index
from rubrika.errors import RubrikaError
from rubrika.index.folder import writing
from rubrika.products import images
from rubrika.serve import database, pages
from rubrika.serve import desk as desk_module
from rubrika.serve import reviews as reviews_module
from rubrika.serve.guard import Tokens
from rubrika.serve.journal import journal_path
from rubrika.serve.review import open_reviews
from rubrika.serve.reviews import NEW, QUEUES, SUSPECTS, UNCERTAIN, Filters, Item, Reviews, reviews_path

Json = dict[str, Any]


@contextmanager
def desk(shop: Shop, file: Path | None = None, products: bool = True) -> Iterator[tuple[httpx.Client, Reviews]]:
    """The desk over a shop, opened on a file, by default its details."""
    with Index.open(shop.index) as index:
        file = file or shop.details
        open_reviews(index, file, [shop.test] if products and file == shop.details else None)
    with serving(shop.index, images=shop.images) as client:
        yield client, Reviews(shop.index)


def post(client: httpx.Client, path: str, by: str = "anna", **body: object) -> Json:
    done = client.post(path, json={"by": by, **body})
    assert done.status_code == 200, done.text
    return done.json()


def first(reviews: Reviews, queue: str = UNCERTAIN, count: int = 1) -> list[Item]:
    return reviews.waiting(queue, Filters(), count)[1]


def stored(client: httpx.Client, id: object) -> Json | None:
    found = client.get(f"/v1/products/{id}")
    return found.json() if found.status_code == 200 else None


def test_a_details_file_fills_the_queues(shop: Shop) -> None:
    decisions = pd.read_parquet(shop.details)["decision"].value_counts()
    with desk(shop) as (client, reviews):
        waiting = {name: reviews.queue(name).waiting for name in QUEUES}
        page = client.get("/")
    assert (waiting[UNCERTAIN], waiting[NEW]) == (decisions["review"], decisions.get("new", 0))
    assert page.status_code == 200
    assert f"{decisions['review']} wait" in page.text


def test_the_least_sure_comes_first_with_its_text_and_neighbours(shop: Shop) -> None:
    details = pd.read_parquet(shop.details)
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        page = client.get("/review?queue=uncertain").text
    least = details[details["decision"] == "review"].sort_values("confidence").iloc[0]
    assert (item.product_id, item.predicted_id) == (least["product_id"], least["predicted_category_id"])
    assert item.title in page
    assert "Neighbours that voted" in page
    assert "Words that mattered" in page
    # How sure it is, and what part of the vote it has, are two figures; alternatives have the second alone.
    sure, share = re.search(r"<b>(\d+)%</b> <span class=\"quiet\">sure; (\d+)% of the vote</span>", page).groups()
    assert int(sure) == round(100 * least["confidence"])
    others = map(int, re.findall(r"<span class=\"quiet\">(\d+)%</span></button>", page))
    assert "Alternatives, by part of the vote" in page
    assert int(share) >= max(others)


def test_a_decided_product_is_stored_and_votes(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
        counted(reviews)
        found = stored(client, item.product_id)
        twin = pd.read_parquet(shop.test).set_index("product_id").loc[item.product_id, "text_fields"]
        asked = {"products": [{"product_id": 99_000_001, "text_fields": twin}]}
        nearest = client.post("/v1/classify", json=asked).json()["predictions"][0]["neighbours"][0]
        waiting = reviews.queue(UNCERTAIN)
    assert found
    assert (found["category_id"], found["label_source"], found["labelled_by"]) == (item.predicted_id, "person", "anna")
    assert nearest["product_id"] == item.product_id
    assert waiting.decided == 1
    # As it would be stored from its own file.
    report = run_rubrika("ingest", labelled(shop, item), "--index", shop.index, "--json")
    assert (report.json["unchanged"], report.json["updated"]) == (1, 0), report.out


def labelled(shop: Shop, item: Item, category: tuple[object, str] | None = None) -> Path:
    """The catalogue of the next night: this product with a category, by default the predicted one."""
    table = pd.read_parquet(shop.test)
    table = table[table["product_id"] == item.product_id]
    id, name = category or (item.predicted_id, item.predicted)
    path = shop.folder / "tonight.parquet"
    table.assign(category_id=id, category_name=name).to_parquet(path)
    return path


def test_a_decision_survives_the_nightly_catalogue(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        other = client.get("/desk/categories", params={"q": "обувь"}).json()["categories"][0]
        named = {"category_id": other["category_id"]}
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="label", **named)
        counted(reviews)
    night = run_rubrika("ingest", labelled(shop, item), "--index", shop.index, "--json")
    assert night.json["kept"] == (1 if item.predicted_id != other["category_id"] else 0)
    with Index.open(shop.index) as index, desk(shop, Path(night.json["kept_labels"])) as (client, reviews):
        assert index.explain(item.product_id).labelled == other["category_name"]
        [waiting] = first(reviews, "disagreements")
    assert (waiting.category, waiting.predicted_id) == (other["category_name"], item.predicted_id)


def test_what_was_new_is_gone_when_it_is_taken_back(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
        counted(reviews)
        assert stored(client, item.product_id)
        answer = post(client, "/desk/undo")
        counted(reviews)
        assert stored(client, item.product_id) is None
        assert first(reviews)[0].number == item.number
    assert answer == {"undone": 1, "next": f"review?queue=uncertain&product={item.number}"}


def test_a_suspect_is_as_it_was_when_its_correction_is_taken_back(shop: Shop, audited: Path) -> None:
    with desk(shop, audited) as (client, reviews):
        [suspect] = first(reviews, SUSPECTS)
        before = stored(client, suspect.product_id)
        post(client, "/desk/decide", queue=SUSPECTS, numbers=[suspect.number], action="accept")
        counted(reviews)
        corrected = stored(client, suspect.product_id)
        post(client, "/desk/undo")
        counted(reviews)
        assert stored(client, suspect.product_id) == before
    assert corrected
    assert corrected["category_id"] == suspect.predicted_id


def test_a_label_that_is_right_is_set_by_a_person(shop: Shop, audited: Path) -> None:
    with desk(shop, audited) as (client, reviews):
        [suspect] = first(reviews, SUSPECTS)
        post(client, "/desk/decide", queue=SUSPECTS, numbers=[suspect.number], action="right")
        counted(reviews)
        assert stored(client, suspect.product_id)["label_source"] == "person"


def test_the_desk_itself_looks_for_wrong_labels(index_of: Callable[..., Path]) -> None:
    rows = [row(n, f"кроссовки беговые {n}") for n in range(20)]
    rows += [row(100 + n, f"чехол силиконовый {n}", CASES) for n in range(20)]
    index = index_of([*rows, row(50, "чехол силиконовый для телефона", SHOES)])
    with serving(index) as client:
        assert post(client, "/desk/audit")["suspects"] >= 1
        [suspect] = first(Reviews(index), SUSPECTS)
    assert (suspect.product_id, suspect.predicted_id) == (50, CASES[0])


def test_a_sure_prediction_against_the_label_is_a_disagreement(shop: Shop) -> None:
    catalogue = shop.folder / "catalogue.parquet"
    options = ("--index", shop.index, "-o", shop.folder / "r.parquet", "--details", catalogue, "--max-error", 1)
    assert run_rubrika("classify", shop.train, *options).code == 0
    labels = dict(pd.read_parquet(shop.train)[["product_id", "category_id"]].to_numpy().tolist())
    found = pd.read_parquet(catalogue)
    at_odds = [
        it.product_id
        for it in found.itertuples()
        if it.decision == "auto" and labels[it.product_id] != it.predicted_category_id
    ]
    with desk(shop, catalogue) as (_, reviews):
        waiting = first(reviews, "disagreements", 1_000)
    assert sorted(it.product_id for it in waiting) == sorted(at_odds)


def test_many_are_decided_together_and_taken_back_together(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        items = first(reviews, count=5)
        numbers = [item.number for item in items]
        done = post(client, "/desk/decide", queue=UNCERTAIN, numbers=numbers, action="accept")
        counted(reviews)
        there = [stored(client, item.product_id)["category_id"] for item in items]
        undone = post(client, "/desk/undo", act=done["act"])
        counted(reviews)
        left = [stored(client, item.product_id) for item in items]
    assert (done["decided"], undone["undone"]) == (5, 5)
    assert there == [item.predicted_id for item in items]
    assert left == [None] * 5


def test_near_duplicates_that_wait_are_offered(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        waiting = first(reviews, count=1_000)
        twins = next(found for item in waiting if (found := reviews.alike(item, 10)))
        item = next(it for it in waiting if it.alike == twins[0].alike and it.number != twins[0].number)
        page = client.get(f"/review?queue=uncertain&product={item.number}").text
    assert f"near duplicate{'s' if len(twins) > 1 else ''} that wait" in page
    assert twins[0].number in page


@pytest.mark.parametrize("typed", ["Игрушки > Космос > Луноходы", "Игрушки->Космос->Луноходы"])
def test_a_new_category_takes_the_next_number(shop: Shop, typed: str) -> None:
    known = {it.category_id for it in Index.open(shop.index).categories().categories}
    with desk(shop) as (client, reviews):
        numbers = [item.number for item in first(reviews, count=2)]
        for number in numbers:
            post(client, "/desk/decide", queue=UNCERTAIN, numbers=[number], action="label", category_name=typed)
        counted(reviews)
        [made] = client.get("/v1/categories", params={"q": "луноходы"}).json()["categories"]
        page = client.get("/category", params={"id": made["category_id"]}).text
    assert made["category_id"] == max(known) + 1
    assert (made["category_name"], made["products"]) == ("Все категории->Игрушки->Космос->Луноходы", 2)
    assert "Игрушки › Космос › Луноходы" in page


def test_a_new_category_is_called_by_its_path_where_all_are(index_of: Callable[..., Path], tmp_path: Path) -> None:
    rows = [{"product_id": f"SKU-{n}", "title": f"{kind} {n}", "category": f"Дом > {kind}"}
            for kind in ("Лампы", "Ковры") for n in range(12)]  # fmt: skip
    index = index_of(rows)
    with serving(index) as client:
        reviews = Reviews(index)
        number = client.get("/product", params={"id": "SKU-3"}).text.split('data-number="')[1].split('"')[0]
        post(client, "/desk/decide", numbers=[number], action="label", category_name="Дом > Торшеры")
        counted(reviews)
        assert stored(client, "SKU-3")["category_id"] == "Дом > Торшеры"


def test_a_product_may_be_sure_of_a_level_above_only(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        above = item.predicted.rpartition("->")[0]
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="label", category_name=above)
        counted(reviews)
        assert stored(client, item.product_id)["category_path"] == above


def test_two_reviewers_at_once_lose_nothing(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        items = first(reviews, count=24)

        def work(place: int) -> Json:
            by = "anna" if place % 2 else "boris"
            return post(client, "/desk/decide", by, queue=UNCERTAIN, numbers=[items[place].number], action="accept")

        with ThreadPoolExecutor(8) as pool:
            acts = [each["act"] for each in pool.map(work, range(24))]
        counted(reviews)
        found = [stored(client, item.product_id) for item in items]
    assert len(set(acts)) == 24
    assert [it["labelled_by"] for it in found] == ["anna" if place % 2 else "boris" for place in range(24)]


def test_what_is_skipped_comes_back_when_asked(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="skip")
        assert first(reviews)[0].number != item.number
        post(client, "/desk/unskip", queue=UNCERTAIN)
        assert first(reviews)[0].number == item.number


def test_a_decision_waits_while_somebody_else_changes_the_index(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        with writing(shop.index, "ingest"):
            post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
            time.sleep(1)
            assert client.get("/").status_code == 200
            assert stored(client, item.product_id) is None
        counted(reviews)
        assert stored(client, item.product_id)


def test_one_process_at_a_time_makes_decisions_count(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "RETRY", 0.1)
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        with reviews.settling():
            post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
            time.sleep(0.5)
            assert stored(client, item.product_id) is None
        counted(reviews)
        assert stored(client, item.product_id)


def test_what_another_process_is_writing_is_to_be_tried_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    correction = {"by": "anna", "labels": [{"product_id": 77, "category_id": None}]}
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        files = reviews_path(shop.index), journal_path(shop.index)
        with database.opened(files[0], write=True), database.opened(files[1], write=True):
            decision = {"by": "anna", "numbers": [item.number], "action": "accept"}
            answers = [
                client.post("/desk/decide", json=decision),
                client.post("/v1/labels", json=correction, headers={"Idempotency-Key": "k-1"}),
            ]
            assert client.get("/").status_code == 200
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "another process is writing it; try again" in answer.json()["error"]


def test_a_product_that_was_deleted_meanwhile_has_a_reason(shop: Shop, audited: Path) -> None:
    with desk(shop, audited) as (client, reviews):
        gone, kept = first(reviews, SUSPECTS, 2)
        with reviews.settling(), Index.open(shop.index) as index:
            post(client, "/desk/decide", queue=SUSPECTS, numbers=[gone.number, kept.number], action="accept")
            index.delete(gone.product_id)
        counted(reviews)
        states = {each.product_id: (each.state, each.reason) for each in reviews.decisions()}
        page = client.get("/decisions").text
    reason = f"product {gone.product_id} is not in the index any more"
    assert states == {gone.product_id: ("failed", reason), kept.product_id: ("done", None)}
    assert reason in page


def test_kill_9_loses_no_decision(shop: Shop) -> None:
    with Index.open(shop.index) as index:
        open_reviews(index, shop.details, [shop.test])
    command = [Path(sys.executable).with_name("rubrika"), "review", "--index", shop.index, "--port", "0", "--json"]
    reviews = Reviews(shop.index)
    items = first(reviews, count=3)
    with set_up(None, {}):
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    url = json.loads(process.stdout.readline())["url"]
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        for item in items:
            post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
        process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert {each.product_id for each in reviews.decisions()} == {item.product_id for item in items}
    with serving(shop.index) as client:
        counted(reviews)
        assert all(stored(client, item.product_id) for item in items)


@pytest.mark.parametrize("kind", ["csv", "xlsx", "parquet"])
def test_decisions_are_exported(shop: Shop, kind: str) -> None:
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
        counted(reviews)
        (shop.folder / f"mine.{kind}").write_bytes(client.get(f"/export?as={kind}").content)
    done = run_rubrika("review", "-o", shop.folder / f"theirs.{kind}", "--index", shop.index, "--json")
    assert done.json["decisions"] == 1
    read = {"csv": pd.read_csv, "xlsx": pd.read_excel, "parquet": pd.read_parquet}[kind]
    mine, theirs = (read(shop.folder / f"{who}.{kind}") for who in ("mine", "theirs"))
    pd.testing.assert_frame_equal(mine, theirs)
    assert (str(mine["product_id"][0]), mine["by"][0], mine["category_name"][0]) == (
        str(item.product_id),
        "anna",
        item.predicted,
    )


def test_a_queue_is_filtered_by_category_shop_and_confidence(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        everything = first(reviews, count=1_000)
        [item] = first(reviews)
        word = item.predicted.split("->")[1].lower()
        query = {"name": UNCERTAIN, "category": word, "most": item.confidence}
        page = client.get("/queue", params=query).text
        found = reviews.waiting(UNCERTAIN, Filters(category=word), 1_000)[1]
    assert [it.number for it in found] == [it.number for it in everything if word in it.predicted.lower()]
    assert page.count('name="chosen"') == len([it for it in found if it.confidence <= item.confidence])


def test_products_sent_in_wait_with_their_pictures(shop: Shop) -> None:
    import base64

    picture = next(shop.images[0].iterdir())
    sent = {"product_id": 77_000_001, "title": "Чайник", "picture": base64.b64encode(picture.read_bytes()).decode()}
    with serving(shop.index) as client:
        answer = client.post("/v1/classify", json={"products": [sent], "review": True}).json()["predictions"][0]
        reviews = Reviews(shop.index)
        [item] = first(reviews, UNCERTAIN if answer["decision"] == "review" else NEW)
        shown = client.get("/picture", params={"id": 77_000_001, "side": 112})
        post(client, "/desk/decide", queue=item.queue, numbers=[item.number], action="accept")
        counted(reviews)
        assert stored(client, 77_000_001)
    assert (item.product_id, item.title, item.picture) == (77_000_001, "Чайник", None)
    assert shown.headers["content-type"] == "image/jpeg"


def test_what_a_person_said_need_not_wait_wherever_it_comes_from(shop: Shop) -> None:
    id = int(pd.read_parquet(shop.train)["product_id"].iloc[0])
    sent = {"products": [{"product_id": id, "title": "Чайник"}], "review": True}
    with serving(shop.index) as client:
        reviews = Reviews(shop.index)
        assert client.post("/v1/classify", json=sent).json()["predictions"][0]["decision"] != "auto"
        [item] = first(reviews, UNCERTAIN) + first(reviews, NEW)
        reviews.fill(item.queue, [])
        post(client, "/v1/labels", labels=[{"product_id": id, "category_id": None}])
        assert client.post("/v1/classify", json=sent).status_code == 200
        assert first(reviews, UNCERTAIN) + first(reviews, NEW) == []
    # As it is stored.
    assert (item.product_id, item.category != "", item.content) == (id, True, None)


def test_pictures_of_a_table_wait_with_their_products(shop: Shop) -> None:
    picture = next(shop.images[0].iterdir()).read_bytes()
    table = shop.folder / "pictured.parquet"
    pd.read_parquet(shop.test).assign(image=picture).to_parquet(table)
    with Index.open(shop.index) as index:
        open_reviews(index, shop.details, [table])
    reviews = Reviews(shop.index)
    [item] = first(reviews)
    assert (item.picture, reviews.picture(item.number)) == (None, picture)


def test_more_than_may_wait_is_refused_and_what_waits_stays(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(shop) as (client, reviews):
        waiting = first(reviews, count=1_000)
        monkeypatch.setattr(reviews_module, "MAX_WAITING", len(waiting) - 1)
        with Index.open(shop.index) as index, pytest.raises(RubrikaError, match="products would wait in a queue"):
            open_reviews(index, shop.details, [shop.test])
        sent = {"product_id": 77_000_001, "title": waiting[0].title}
        refused = client.post("/v1/classify", json={"products": [sent], "review": True})
        assert first(reviews, count=1_000) == waiting
    assert (refused.status_code, "products would wait" in refused.text) == (422, True)


def test_a_picture_has_the_name_in_its_row_and_one_that_cannot_be_read_is_none(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {77_000_001: next(shop.images[0].iterdir()).name, 77_000_002: f"{'чай' * 100}.jpg"}
    sent = [{"product_id": id, "title": "Чайник", "image": name} for id, name in names.items()]

    def shown(id: int) -> str:
        return client.get("/picture", params={"id": id}).headers["content-type"]

    with serving(shop.index, images=shop.images) as client:
        [queue, _] = [
            {"review": UNCERTAIN, "new": NEW}[each["decision"]]
            for each in client.post("/v1/classify", json={"products": sent, "review": True}).json()["predictions"]
        ]
        assert [shown(id) for id in names] == ["image/jpeg", "image/svg+xml"]
        monkeypatch.setattr(images, "MAX_BYTES", 10)
        assert shown(77_000_001) == "image/svg+xml"
        post(client, "/desk/decide", queue=queue, numbers=[str(id) for id in names], action="accept")
        counted(Reviews(shop.index))
        assert all(stored(client, id) for id in names)


def test_after_a_failure_that_nobody_foresaw_decisions_are_tried_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(desk_module, "RETRY", 0.1)
    with desk(shop) as (client, reviews):
        [item] = first(reviews)
        damaged = reviews.decide([(Item(UNCERTAIN, "no number", 1, "Чайник"), "right", None, "")], "boris")
        post(client, "/desk/decide", queue=UNCERTAIN, numbers=[item.number], action="accept")
        while "no number" not in caplog.text:
            time.sleep(0.05)
        assert stored(client, item.product_id) is None
        reviews.undo("boris", damaged)
        counted(reviews)
        assert stored(client, item.product_id)


def test_pictures_come_from_their_folder_alone(shop: Shop) -> None:
    secret = shop.folder / "secret.png"
    picture = next(shop.images[0].iterdir())
    secret.write_bytes(picture.read_bytes())
    with desk(shop) as (client, _):
        there = client.get("/picture", params={"id": picture.stem, "side": 320})
        for id in ("../../secret", "../../secret.png", str(secret)):
            assert client.get("/picture", params={"id": id}).headers["content-type"] == "image/svg+xml"
        assert client.get("/static/..%2f..%2fapi.py").status_code == 404
    assert there.headers["content-type"] == "image/jpeg"


def test_pages_let_nothing_in_from_elsewhere(shop: Shop) -> None:
    with desk(shop) as (client, _):
        policy = client.get("/").headers["content-security-policy"]
        other = client.post("/desk/undo", json={"by": "anna"}, headers={"Origin": "http://evil.example"})
        form = client.post("/desk/undo", content="by=anna")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert (other.status_code, form.status_code) == (403, 415)


def test_beyond_this_machine_a_browser_signs_in(shop: Shop) -> None:
    tokens = Tokens("write-0123456789abcdef", "read-0123456789abcdef")
    with serving(shop.index, tokens, "0.0.0.0") as client:  # noqa: S104 - a name that the service is asked by
        away = client.get("/", headers={"Accept": "text/html"})
        assert (away.status_code, away.headers["location"]) == (303, "login")
        assert client.post("/login", json={"token": "wrong"}).status_code == 401
        assert client.get("/login").status_code == 200
        for token, allowed in ((tokens.read, 403), (tokens.write, 422)):
            client.cookies.clear()
            signed = client.post("/login", json={"token": token})
            assert "HttpOnly" in signed.headers["set-cookie"]
            assert token not in signed.headers["set-cookie"]
            assert client.get("/").status_code == 200
            assert client.post("/desk/undo", json={"by": "anna"}).status_code == allowed


def test_a_service_that_has_no_desk_says_so(shop: Shop) -> None:
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    from rubrika.serve import router

    app = FastAPI()
    app.include_router(router(Index.open(shop.index)), prefix="/rubrika")
    with TestClient(app) as client:
        asked = {"products": [{"id": 1, "title": "Чайник"}], "review": True}
        answer = client.post("/rubrika/v1/classify", json=asked)
        assert client.get("/rubrika/").status_code == 404
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "`review`: this service has no review desk; leave it out",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("missing.parquet",), "missing.parquet: no such file"),
        (("result.parquet",), "not a parquet file that `rubrika classify --details`"),
        (("--products", "test.parquet"), "`--products` are those of a FILE"),
    ],
)
def test_what_cannot_be_reviewed_is_told_in_a_sentence(shop: Shop, arguments: tuple[str, ...], said: str) -> None:
    done = run_rubrika("review", *arguments, "--index", shop.index, cwd=shop.folder)
    assert done.code in (1, 2)
    assert said.replace("`--products` are", "--products are") in done.err.replace("`--products`", "--products")


def test_a_failure_is_a_page_for_a_browser(shop: Shop) -> None:
    with desk(shop) as (client, _):
        page = client.get("/product?id=123456789", headers={"Accept": "text/html", "Accept-Language": "ru"})
        plain = client.get("/product?id=123456789")
    assert (page.status_code, plain.status_code) == (422, 422)
    assert "product 123456789 is not in the index" in page.text
    assert '<html lang="ru">' in page.text


def test_every_text_of_the_pages_is_there_in_russian() -> None:
    from babel.messages.extract import extract_from_dir
    from babel.messages.pofile import read_po

    methods = [("templates/**.html", "jinja2"), ("desk.py", "python")]
    found = {it[2] for it in extract_from_dir(pages.HERE, methods, keywords={"_": None, "ngettext": (1, 2)})}
    with (pages.HERE / "locale" / "ru.po").open("rb") as file:
        texts = {it.id: (it.string,) if isinstance(it.string, str) else it.string for it in read_po(file, "ru")}
    assert found == {text for text, spoken in texts.items() if text and all(spoken)}


def test_pages_speak_the_language_of_the_browser(shop: Shop) -> None:
    with desk(shop) as (client, reviews):
        count = reviews.queue(UNCERTAIN).waiting
        russian = client.get("/", headers={"Accept-Language": "ru-RU,ru;q=0.9,en;q=0.8"}).text
        client.get("/?lang=ru")
        chosen = client.get("/", headers={"Accept-Language": "en"}).text
    assert f"ожида{'ет' if count % 10 == 1 and count % 100 != 11 else 'ют'} {count}" in russian
    assert "Что ждёт человека" in chosen
