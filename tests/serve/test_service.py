"""The service answers as the command line does, learns from corrections at once, and makes none of them twice."""

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Run, copied, set_up
from fastapi import FastAPI
from models import save_vit
from PIL import Image
from qdrant_http import serve
from rows import CASES, SHOES, row
from service import serving

from rubrika.api import Index
from rubrika.index.folder import writing
from rubrika.serve import router
from rubrika.serve.models import CategoriesAnswer, ClassifyAnswer, LabelsAnswer

Json = dict[str, Any]
MOON = {"product_id": 900_001, "title": "Луноход надувной", "category_name": "Все категории->Луна->Луноходы"}


@pytest.fixture(scope="module")
def service(index: Path) -> Iterator[httpx.Client]:
    """Over the shared index, which nobody changes."""
    with serving(index) as client:
        yield client


@pytest.fixture(scope="module")
def products(market: Path) -> list[Json]:
    rows = pd.read_parquet(market / "test.parquet").head(24)
    return [
        {"product_id": id, "text_fields": text}
        for id, text in zip(rows["product_id"].tolist(), rows["text_fields"], strict=True)
    ]


def post(client: httpx.Client, path: str, key: str | None = None, **body: object) -> Json:
    done = client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
    assert done.status_code == 200, done.text
    return done.json()


def predicted(client: httpx.Client, title: str) -> str:
    [found] = post(client, "/v1/classify", products=[{"id": 1, "title": title}])["predictions"]
    return found["predicted_category_name"]


def batches(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("rubrika_batch_products_count"))


def test_answers_are_those_of_the_command_line_to_the_value(
    service: httpx.Client, index: Path, market: Path, products: list[Json], rubrika: Callable[..., Run], tmp_path: Path
) -> None:
    pd.read_parquet(market / "test.parquet").head(len(products)).to_parquet(tmp_path / "new.parquet")
    details = ("-o", tmp_path / "result.parquet", "--details", tmp_path / "details.parquet")
    assert rubrika("classify", tmp_path / "new.parquet", "--index", index, *details).code == 0
    answer = post(service, "/v1/classify", products=products)
    ClassifyAnswer.model_validate(answer)
    wanted = pq.read_table(tmp_path / "details.parquet").to_pylist()
    assert answer["predictions"] == [row | {"reason": None} for row in wanted]


def test_requests_at_the_same_time_are_classified_together_and_each_has_its_own_answer(
    service: httpx.Client, products: list[Json]
) -> None:
    alone = post(service, "/v1/classify", products=products)["predictions"]
    before = batches(service)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda one: post(service, "/v1/classify", products=[one])["predictions"], products * 3))
    assert [each for [each] in found] == alone * 3
    assert batches(service) - before < len(products) * 3


def test_what_is_no_product_has_a_reason_beside_the_others(service: httpx.Client) -> None:
    given = [{"id": "a-1", "title": "кеды"}, {"id": 2}, {"title": "чехол"}, {"id": 4, "title": "x", "picture": "?"}]
    kept, *refused = post(service, "/v1/classify", products=given)["predictions"]
    assert (kept["product_id"], kept["reason"]) == ("a-1", None)
    assert [each["decision"] for each in refused] == ["review"] * 3
    assert [each["reason"].split(";")[0] for each in refused] == [
        "title is empty",
        "product_id is empty",
        "picture is not base64",
    ]


def test_neighbours_and_explanations_are_those_of_python(service: httpx.Client, index: Path) -> None:
    title = "кроссовки женские"
    with Index.open(index) as opened:
        near, why = opened.neighbours(title=title, top_k=3).to_dict(), opened.explain(title=title).to_dict()
    assert post(service, "/v1/neighbours", title=title, top_k=3) == near
    assert post(service, "/v1/explain", title=title) == json.loads(json.dumps(why))


def test_a_picture_without_an_index_for_pictures_is_refused_in_a_sentence(service: httpx.Client) -> None:
    done = service.post("/v1/neighbours", json={"picture": base64.b64encode(b"\x89PNG").decode()})
    assert (done.status_code, "error" in done.json()) == (422, True)
    assert "vector" in done.json()["error"]


def test_pictures_come_in_base64_to_be_asked_about_and_to_be_learned_from(tmp_path: Path) -> None:
    save_vit(tmp_path / "vit")
    (tmp_path / "images").mkdir()
    for product, colour in ((1, "red"), (2, "blue")):
        (tmp_path / f"images/{product}.png").write_bytes(drawn(colour))
    shelf = pd.DataFrame([row(1, "кеды", SHOES), row(2, "чехол", CASES)])
    with Index.open(tmp_path / "index", cache=tmp_path / "cache") as index:
        index.ingest(shelf, tmp_path / "images", image_encoder=str(tmp_path / "vit"), vote="image")
    red, blue, green = (base64.b64encode(drawn(colour)).decode() for colour in ("red", "blue", "green"))
    with serving(tmp_path / "index") as client:
        asked = [{"id": 8, "title": "?", "picture": red}, {"id": 9, "title": "?", "picture": blue}]
        found = post(client, "/v1/classify", products=asked)["predictions"]
        assert [each["predicted_category_id"] for each in found] == [SHOES[0], CASES[0]]
        assert post(client, "/v1/neighbours", picture=blue, top_k=1)["neighbours"][0]["product_id"] == 2
        assert post(client, "/v1/explain", picture=red)["predicted_category_id"] == SHOES[0]
        new = {"id": 3, "title": "шарф", "category_id": 3, "category_name": "Всё->Шарфы", "picture": green}
        assert post(client, "/v1/labels", by="anna", products=[new])["added"] == 1
        assert post(client, "/v1/explain", picture=green)["predicted_category_id"] == 3


def drawn(colour: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (32, 32), colour).save(file, "PNG")
    return file.getvalue()


def test_categories_are_found_by_words_and_products_by_id(service: httpx.Client, market: Path) -> None:
    first = pd.read_parquet(market / "train.parquet").iloc[0]
    word = first["category_name"].split("->")[-1].upper()
    found = service.get("/v1/categories", params={"q": word, "limit": 1}).json()
    CategoriesAnswer.model_validate(found)
    assert word.casefold() in found["categories"][0]["category_name"].casefold()
    product = service.get(f"/v1/products/{first['product_id']}").json()
    assert product["category_path"] == first["category_name"]
    missing = service.get("/v1/products/77")
    assert (missing.status_code, missing.json()) == (404, {"error": "product 77 is not in the index"})


def test_it_says_that_it_lives_that_it_is_ready_and_how_it_does(service: httpx.Client) -> None:
    assert service.get("/healthz").json() == {"status": "ok"}
    assert service.get("/readyz").json() == {"status": "ready"}
    predicted(service, "кеды")
    text = service.get("/metrics").text
    assert "rubrika_index_products 1350.0" in text
    for name in ("requests", "request_seconds", "decisions", "confidence", "similarity", "unseen_words"):
        assert f"# TYPE rubrika_{name}" in text
    [age] = [line for line in text.splitlines() if line.startswith("rubrika_calibration_age_seconds")]
    assert float(age.split()[1]) > 0


def test_every_path_is_described_and_the_examples_can_be_sent(service: httpx.Client) -> None:
    described = service.get("/openapi.json").json()
    assert len(described["paths"]) == 9
    for path, name in (("classify", "Classify"), ("neighbours", "Neighbours"), ("explain", "Explain")):
        [example] = described["components"]["schemas"][f"{name}Request"]["examples"]
        assert post(service, f"/v1/{path}", **example)


def test_corrections_count_at_once_and_no_later_catalogue_undoes_them(
    copy: Path, market: Path, rubrika: Callable[..., Run], tmp_path: Path
) -> None:
    rows = pd.read_parquet(market / "train.parquet").head(5)
    id, other = int(rows["product_id"].iloc[0]), rows["category_id"].iloc[1:].iloc[-1]
    with serving(copy) as client:
        done = post(client, "/v1/labels", by="anna", labels=[{"product_id": id, "category_id": int(other)}])
        LabelsAnswer.model_validate(done)
        assert done["relabelled"] == 1
        assert predicted(client, MOON["title"]) != MOON["category_name"]
        assert post(client, "/v1/labels", by="anna", products=[MOON])["added"] == 1
        assert predicted(client, MOON["title"]) == MOON["category_name"]
        # The night's catalogue, by another process, which the service sees.
        extra = rows.head(1).assign(product_id=900_002)
        pd.concat([rows, extra]).to_parquet(tmp_path / "night.parquet")
        assert rubrika("ingest", tmp_path / "night.parquet", "--index", copy).code == 0
        assert client.get("/v1/products/900002").status_code == 200
        product = client.get(f"/v1/products/{id}").json()
    assert (product["category_id"], product["labelled_by"]) == (int(other), "anna")


def test_a_correction_that_is_sent_twice_is_made_once(copy: Path, market: Path) -> None:
    rows = pd.read_parquet(market / "train.parquet").drop_duplicates("category_id").head(3)
    id, first, second = int(rows["product_id"].iloc[0]), *map(int, rows["category_id"].iloc[1:])
    label = [{"product_id": id, "category_id": first}]
    with serving(copy) as client:
        done = post(client, "/v1/labels", key="k-1", by="anna", labels=label)
        post(client, "/v1/labels", by="boris", labels=[{"product_id": id, "category_id": second}])
        other = client.post("/v1/labels", json={"by": "eva", "labels": label}, headers={"Idempotency-Key": "k-1"})
        assert other.status_code == 422
    # Nor after a new start.
    with serving(copy) as client:
        assert post(client, "/v1/labels", key="k-1", by="anna", labels=label) == done
        assert client.get(f"/v1/products/{id}").json()["category_id"] == second


def test_a_correction_that_cannot_be_made_changes_nothing(service: httpx.Client) -> None:
    for body, word in (
        ({"labels": [{"product_id": 77, "category_id": None}]}, "not in the index"),
        ({"labels": [{"product_id": 1, "category_id": 1}, {"product_id": 1, "category_id": 2}]}, "two categories"),
        ({"products": [{"id": 900_009, "title": "кеды"}]}, "category"),
        ({}, "give one of"),
    ):
        done = service.post("/v1/labels", json={"by": "anna", **body})
        assert done.status_code == 422
        assert word in done.json()["error"]


def test_while_another_process_changes_the_index_predictions_go_on_and_corrections_are_to_come_again(
    service: httpx.Client, index: Path
) -> None:
    with writing(index, "ingest"):
        body = {"by": "anna", "labels": [{"product_id": 77, "category_id": None}]}
        done = service.post("/v1/labels", json=body)
        assert (done.status_code, done.headers["Retry-After"]) == (503, "5")
        assert "`rubrika ingest`" in done.json()["error"]
        assert predicted(service, "кеды")


def test_several_services_over_one_index_answer_alike_and_each_sees_what_another_corrected(copy: Path) -> None:
    with serving(copy) as one, serving(copy) as other:
        assert predicted(one, MOON["title"]) == predicted(other, MOON["title"]) != MOON["category_name"]
        assert post(one, "/v1/labels", key="k-1", by="anna", products=[MOON])["added"] == 1
        assert predicted(other, MOON["title"]) == MOON["category_name"]
        # Sent again, it may come to the other one.
        assert post(other, "/v1/labels", key="k-1", by="anna", products=[MOON])["added"] == 1
        assert post(other, "/v1/labels", by="boris", products=[MOON])["unchanged"] == 1


def test_services_of_two_machines_over_one_server_see_each_others_corrections(
    copy: Path, market: Path, tmp_path: Path
) -> None:
    id = int(pd.read_parquet(market / "train.parquet")["product_id"].iloc[0])
    with serve() as server, set_up(None, {}):
        Index.open(copy).push(server.url)
        # Each machine has the folder, with the encoders in it; the points are on the server.
        elsewhere = copied(copy, tmp_path / "elsewhere")
        with serving(copy) as one, serving(elsewhere) as other:
            assert predicted(one, MOON["title"]) == predicted(other, MOON["title"]) != MOON["category_name"]
            assert post(one, "/v1/labels", by="anna", products=[MOON])["added"] == 1
            assert predicted(other, MOON["title"]) == MOON["category_name"]
            assert other.get(f"/v1/products/{MOON['product_id']}").json()["labelled_by"] == "anna"
            assert (
                post(other, "/v1/labels", by="eva", labels=[{"product_id": id, "category_id": None}])["verified"] == 1
            )
            assert one.get(f"/v1/products/{id}").json()["labelled_by"] == "eva"


def test_the_router_serves_in_somebodys_own_application(index: Path) -> None:
    import anyio

    app = FastAPI()
    app.include_router(router(Index.open(index)), prefix="/rubrika")

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop.example") as client:
            return await client.post("/rubrika/v1/classify", json={"products": [{"id": 1, "title": "кеды"}]})

    assert anyio.run(ask).json()["predictions"][0]["reason"] is None


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_says_where_it_listens_and_ends_when_asked(index: Path, workers: int) -> None:
    options = ("--port", "0", "--workers", str(workers), "--json")
    command = [sys.executable, "-m", "rubrika", "serve", "--index", str(index), *options]
    with set_up(None, {}), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            url = json.loads(process.stdout.readline())["url"]
            assert httpx.get(f"{url}/readyz", trust_env=False, timeout=60).status_code == 200
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
