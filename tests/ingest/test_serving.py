"""The command line against a server: the same answers as from the folder, and no key in anything it says."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from conftest import Run, copied
from edge_client import EdgeClient
from qdrant_grpc import serve_grpc
from qdrant_http import QdrantOverHttp, gone_after_upserts, serve
from rows import CASES, row

from rubrika.index.folder import Index, writing
from rubrika.index.location import Location
from rubrika.ingest.move import move_index
from rubrika.products.reader import Reader
from rubrika.retrieve.predictions import Outputs, classify_to_files
from rubrika.store.connection import Connection

Rubrika = Callable[..., Run]
KEY = "ключ-не-для-чужих".encode().hex()


@pytest.fixture
def few(market: Path, tmp_path: Path) -> Path:
    """A part of the market that is written in several requests."""
    pd.read_parquet(market / "train.parquet").head(300).to_parquet(tmp_path / "few.parquet")
    return tmp_path / "few.parquet"


@pytest.fixture
def moved(rubrika: Rubrika, index: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two copies of an index: one that stays in its folder, one to be pushed."""
    return copied(index, tmp_path / "stays"), copied(index, tmp_path / "goes")


def classify(rubrika: Rubrika, market: Path, index: Path, output: Path, **environment: str) -> bytes:
    done = rubrika("classify", market / "test.parquet", "--index", index, "-o", output, **environment)
    assert done.code == 0, done.err
    return output.read_bytes()


def test_a_pushed_index_answers_byte_for_byte_as_before_and_comes_back(
    rubrika: Rubrika, market: Path, moved: tuple[Path, Path], tmp_path: Path
) -> None:
    stays, goes = moved
    expected = classify(rubrika, market, stays, tmp_path / "folder.parquet")
    with serve(api_key=KEY) as server:
        pushed = rubrika(
            "push", "--url", server.url, "--index", goes, "--quantisation", "none", "--json", QDRANT_API_KEY=KEY
        )
        assert pushed.code == 0, pushed.err
        assert pushed.json["copied"] == pushed.json["total"] > 1_000
        shutil.rmtree(goes / "edge")
        assert classify(rubrika, market, goes, tmp_path / "server.parquet", QDRANT_API_KEY=KEY) == expected
        asked = ("neighbours", "--title", "кроссовки", "--json", "--index")
        found, expected_ids = (
            [one["product_id"] for one in rubrika(*asked, copy, QDRANT_API_KEY=KEY).json["neighbours"]]
            for copy in (goes, stays)
        )
        assert found == expected_ids
        shown = rubrika("neighbours", "--title", "кеды", "--open", "--json", "--index", goes, QDRANT_API_KEY=KEY).json
        assert shown["open"] == f"{server.url}/dashboard#/collections/products"
        told = rubrika("info", "--index", goes, QDRANT_API_KEY=KEY)
        assert rubrika("pull", "--index", goes, QDRANT_API_KEY=KEY).code == 0
        assert all(KEY not in each.out + each.err for each in (pushed, told))
    assert KEY not in (goes / "index.json").read_text()
    assert classify(rubrika, market, goes, tmp_path / "back.parquet") == expected


@pytest.mark.parametrize("over", ["http", "grpc"])
def test_a_server_with_the_same_engine_gives_the_same_bytes_of_result_and_details(
    over: str, market: Path, moved: tuple[Path, Path], tmp_path: Path
) -> None:
    stays, goes = moved
    # Two batches, searched at once.
    files = [market / "train.parquet", market / "test.parquet"]

    def answers(at: Location, name: str) -> list[bytes]:
        outputs = tmp_path / f"{name}.parquet", tmp_path / f"{name}-details.parquet"
        with Index.open(at) as index:
            classify_to_files(index, Reader(files, labelled=False), Outputs.of(*outputs))
        return [output.read_bytes() for output in outputs]

    expected, client = answers(Location(stays, cache=stays), "embedded"), EdgeClient()
    with serve(client=client) as http, serve_grpc(client=client) as (grpc, port):
        http.seconds = grpc.seconds = 0.002
        there = Connection(http.url, "products", grpc_port=port if over == "grpc" else None)
        move_index(Location(goes, there, cache=goes))
        assert answers(Location(goes, there, cache=goes), over) == expected
        assert bool(http.answered) == (over == "http")


def test_ingest_into_a_server_and_again_changes_nothing(
    rubrika: Rubrika, market: Path, few: Path, tmp_path: Path
) -> None:
    with serve() as server:
        arguments = ("ingest", few, "--index", tmp_path / "index", "--url", server.url, "--json")
        first, again = rubrika(*arguments).json, rubrika(*arguments).json
        assert first["added"] == again["unchanged"] == again["read"]
        assert not (tmp_path / "index" / "edge").exists()
        served = classify(rubrika, market, tmp_path / "index", tmp_path / "served.parquet")
    assert rubrika("ingest", few, "--index", tmp_path / "folder").code == 0
    assert served == classify(rubrika, market, tmp_path / "folder", tmp_path / "folder.parquet")


def test_a_server_that_goes_away_stops_the_run_and_the_next_run_completes_it(
    rubrika: Rubrika, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command waits some twenty seconds for the server to come back.
    monkeypatch.setattr("rubrika.store.faults.time.sleep", lambda seconds: None)
    with serve() as whole, serve() as broken:
        complete = ("ingest", few, "--index", tmp_path / "whole", "--json", "--url", whole.url)
        assert rubrika(*complete).code == 0
        arguments = ("ingest", few, "--index", tmp_path / "index", "--json", "--url", broken.url)
        with gone_after_upserts(broken, 2):
            stopped = rubrika(*arguments)
        assert (stopped.code, stopped.out) == (1, "")
        assert stopped.err.count("rubrika: ") == 1
        there = broken.client.count("products").count
        assert 0 < there < whole.client.count("products").count
        completed = rubrika(*arguments).json
        assert (completed["unchanged"], completed["added"]) == (there, completed["read"] - there)
        assert points_of(broken) == points_of(whole)


def test_an_index_pushed_with_a_search_effort_is_searched_with_it_from_then_on(
    rubrika: Rubrika, moved: tuple[Path, Path]
) -> None:
    _, goes = moved
    with serve() as server:
        push = ("push", "--url", server.url, "--index", goes, "--json")
        first = rubrika(*push, "--graph-links", "16", "--graph-effort", "200", "--search-effort", "64")
        assert first.code == 0, first.err
        assert rubrika("neighbours", "--title", "кеды", "--index", goes).code == 0
        assert {search["params"].get("hnsw_ef") for search in server.searches} == {64}
        assert next(iter(server.created.values()))["hnsw_config"] == {"m": 16, "ef_construct": 200}
        server.searches.clear()
        again = rubrika(*push, "--search-effort", "128")
        assert (again.json["copied"], again.json["total"]) == (0, first.json["total"])
        assert rubrika("neighbours", "--title", "кеды", "--index", goes).code == 0
        assert {search["params"].get("hnsw_ef") for search in server.searches} == {128}
        nothing = rubrika(*push)
        assert (nothing.code, "its points are in products already" in nothing.err) == (1, True)


def test_an_index_laid_out_anew_takes_over_the_name_in_one_step(
    rubrika: Rubrika, market: Path, moved: tuple[Path, Path], tmp_path: Path
) -> None:
    stays, goes = moved
    expected = classify(rubrika, market, stays, tmp_path / "folder.parquet")
    with serve() as server:
        for version in ("1", "2", "1"):
            pushed = rubrika(
                *("push", "--url", server.url, "--index", goes),
                *("--collection", f"products_v{version}", "--alias", "products", "--quantisation", "none"),
            )
            assert pushed.code == 0, pushed.err
            assert "products names now" in pushed.out
            named = [(each.alias_name, each.collection_name) for each in server.client.get_aliases().aliases]
            assert named == [("products", f"products_v{version}")]
        assert json.loads((goes / "index.json").read_text())["collection"] == "products"
        server.client.delete_collection("products_v2")
        assert classify(rubrika, market, goes, tmp_path / "served.parquet") == expected
        taken = rubrika("push", "--url", server.url, "--index", stays, "--collection", "new", "--alias", "products_v1")
        assert taken.code == 1
        assert re.search(r"choose another (--|`)alias", taken.err)
        assert [each.name for each in server.client.get_collections().collections] == ["products_v1"]


def test_an_index_that_is_being_changed_is_not_moved(rubrika: Rubrika, moved: tuple[Path, Path]) -> None:
    _, goes = moved
    with serve() as server, writing(goes, "ingest"):
        done = rubrika("push", "--url", server.url, "--index", goes)
    assert (done.code, done.out) == (1, "")
    assert "`rubrika ingest`" in done.err
    assert server.answered == []


def test_evaluating_through_a_server_gives_the_same_figures_and_leaves_nothing(rubrika: Rubrika, few: Path) -> None:
    asked = ("evaluate", few, "--holdout", "0.2", "--json")
    embedded = rubrika(*asked)
    with serve() as server:
        served = rubrika(*asked, "--url", server.url)
        assert served.code == 0, served.err
        assert any(re.fullmatch("rubrika-evaluate-[0-9a-f]{32}", name) for name in server.created)
        assert server.client.get_collections().collections == []
    # Similarities are equal to a rounding of float32, and so are confidences, which are made from them.
    loose = {"seconds": {}, "confidence": {}}
    assert served.json | loose == embedded.json | loose
    assert served.json["confidence"] == pytest.approx(embedded.json["confidence"], abs=1e-6)


def test_a_failed_evaluation_leaves_nothing_on_the_server(rubrika: Rubrika, write: Callable[..., Path]) -> None:
    path = write([row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(40)])
    with serve() as server:
        answer = server.answer

        def full(method: str, path: str, body: dict[str, object]) -> object:
            if (method, path[-7:]) == ("PUT", "/points"):
                raise ValueError("no space left")
            return answer(method, path, body)

        server.answer = full
        failed = rubrika("evaluate", path, "--url", server.url, "--collection", "products")
        assert (failed.code, failed.out, "no space left" in failed.err) == (1, "", True)
        assert [name.startswith("products-evaluate-") for name in server.created] == [True]
        assert server.client.get_collections().collections == []


@pytest.mark.parametrize(
    ("environment", "said"),
    [({}, "API key"), ({"QDRANT_API_KEY": "wrong"}, "API key")],
)
def test_a_wrong_key_is_one_sentence(rubrika: Rubrika, index: Path, environment: dict[str, str], said: str) -> None:
    with serve(api_key=KEY) as server:
        done = rubrika("info", "--index", index, "--url", server.url, **environment)
    assert (done.code, done.out) == (1, "")
    assert said.lower() in done.err.lower()
    assert "wrong" not in done.err.replace("wrong key", "")


def points_of(server: QdrantOverHttp) -> dict[int, tuple[object, ...]]:
    points, _ = server.client.scroll("products", limit=10_000, with_vectors=True)
    return {
        point.id: (point.payload["rubrika"]["text_hash"], point.payload["category_id"], tuple(point.vector["text"][:4]))
        for point in points
    }


def test_a_collection_of_one_index_is_not_taken_up_by_another(
    rubrika: Rubrika, write: Callable[..., Path], tmp_path: Path
) -> None:
    shelf = [row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(40)]
    first, second = write(shelf, "first.parquet"), write(shelf[:20], "second.parquet")
    with serve() as server:
        assert rubrika("ingest", first, "--index", tmp_path / "one", "--url", server.url).code == 0
        refused = rubrika("ingest", second, "--index", tmp_path / "two", "--url", server.url)
        assert (refused.code, "holds products of another index" in refused.err) == (1, True)
        other = ("--url", server.url, "--collection", "products-2")
        assert rubrika("ingest", second, "--index", tmp_path / "three", *other).code == 0
        # Learning again makes a collection that nobody has, and removes its own old one alone.
        assert rubrika("learn", "--index", tmp_path / "one").code == 0
        counts = {
            each.name: server.client.count(each.name).count for each in server.client.get_collections().collections
        }
        aliases = {each.alias_name: each.collection_name for each in server.client.get_aliases().aliases}
        assert counts.pop(aliases["products-2"]) == 20
        assert list(counts.values()) == [40]
        assert rubrika("check", "--index", tmp_path / "one").code == 0


def test_the_server_may_be_named_and_its_collection_left_to_the_index(
    rubrika: Rubrika, moved: tuple[Path, Path]
) -> None:
    _, goes = moved
    with serve(api_key=KEY) as server:
        names = {"QDRANT_URL": f"{server.url}/", "QDRANT_API_KEY": KEY}
        assert rubrika("push", "--collection", "shoes", "--index", goes, **names).code == 0
        known = rubrika("info", "--json", "--index", goes, QDRANT_API_KEY=KEY).json["products"]
        assert rubrika("info", "--json", "--index", goes, **names).json["products"] == known
        assert rubrika("delete", "1", "--index", goes, **names).code == 0
        other = rubrika("info", "--collection", "products", "--index", goes, **names)
        assert (other.code, "no collection «products»" in other.err) == (1, True)


def test_the_key_does_not_go_to_a_server_that_an_index_alone_names(rubrika: Rubrika, moved: tuple[Path, Path]) -> None:
    _, goes = moved
    raw = json.loads((goes / "index.json").read_text()) | {"store": "server", "url": "https://qdrant.invalid:6333"}
    (goes / "index.json").write_text(json.dumps(raw))
    for command in (("info",), ("delete", "1"), ("learn",), ("pull",)):
        stopped = rubrika(*command, "--index", goes, QDRANT_API_KEY=KEY)
        assert (stopped.code, stopped.out) == (1, "")
        assert "your API key is not sent there" in stopped.err
    for named in ({"QDRANT_API_KEY": KEY, "QDRANT_URL": "https://qdrant.invalid"}, {}):
        assert "no server answers" in rubrika("info", "--index", goes, **named).err
