"""A look at a server before hours of work: what `rubrika check --url` says, and what is refused before the learning."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Run
from points import SIZE, shelf, unit
from qdrant_http import QdrantOverHttp, serve

from rubrika.errors import StoreError
from rubrika.store.batches import MAX_BYTES, Batches, payload_bytes, vectors_bytes
from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.faults import TooLargeError
from rubrika.store.look import check_ready, look_at
from rubrika.store.server import ServerStore

Rubrika = Callable[..., Run]
SIZES = {"text": SIZE}
KEY, TOKEN = "admin-key", "token-for-products"


@pytest.fixture
def server() -> Iterator[QdrantOverHttp]:
    with serve(KEY) as running:
        running.tokens = {TOKEN: ("products", "rw")}
        yield running


def connection(server: QdrantOverHttp, key: str = KEY) -> Connection:
    return Connection(server.url, "products", key)


def stored(server: QdrantOverHttp, count: int) -> ServerStore:
    store = ServerStore(connection(server), SIZES, create=ServerOptions())
    store.upsert(shelf(count))
    return store


def found(server: QdrantOverHttp, key: str = KEY) -> dict[str, tuple[str, str, bool]]:
    return {it.name: (it.value, it.advice, it.is_fault) for it in look_at(connection(server, key)).findings}


def test_a_server_with_nothing_in_it_is_ready(server: QdrantOverHttp, rubrika: Rubrika, tmp_path: Path) -> None:
    shown = rubrika("check", "--url", server.url, "--index", tmp_path / "none", "--json", QDRANT_API_KEY=KEY)
    assert shown.code == 0, shown.err
    assert shown.json["problems"] == {}
    findings = {each["name"]: each["value"] for each in shown.json["server"]["findings"]}
    assert findings.pop("transport").startswith("HTTP, ")
    assert findings == {
        "version": "1.18.3",
        "TLS": "none",
        "nodes": "1, not a cluster",
        "memory": "4.3 GB, 0.1 of it in use",
        "disk": "21.5 GB in all",
        "key": "may do everything",
        "collection": "«products» is not there",
    }
    check_ready(connection(server))
    table = rubrika("check", "--url", server.url, "--index", tmp_path / "none", QDRANT_API_KEY=KEY, COLUMNS="150")
    assert "may do everything" in table.out
    assert table.out.splitlines()[-1] == "no problems found"


def test_a_collection_is_told_with_what_it_finds(server: QdrantOverHttp) -> None:
    store = stored(server, 300)
    assert found(server)["state"] == (
        "indexing is off, so searching is slow",
        "a run was interrupted: run the same ingest or push again",
        True,
    )
    store.optimise()
    server.strict = {"write_rate_limit": 1_000}
    seen = found(server)
    assert seen["collection"][0].startswith("300 points, «text» (8 × Dot), quantisation ")
    assert seen["state"] == ("green", "", False)
    assert seen["recall text"] == ("1.0000 of the nearest 10", "", False)
    assert seen["limits"] == ("write_rate_limit 1000", "100,000 products take 100 minutes to write", False)


def test_what_a_key_may_do_is_found_out_without_a_change(server: QdrantOverHttp) -> None:
    stored(server, 3).close()
    assert found(server, TOKEN)["key"][0].startswith("may write in this collection, not make others (Forbidden: ")
    server.tokens = {TOKEN: ("products", "r")}
    assert found(server, TOKEN)["key"][0].startswith("may only read (Forbidden: Write access to collection")
    assert server.client.count("products").count == 3
    with pytest.raises(StoreError, match="refuses this API key"):
        look_at(connection(server, "wrong"))


def test_what_would_fail_after_learning_is_refused_before(
    server: QdrantOverHttp, rubrika: Rubrika, market: Path, tmp_path: Path
) -> None:
    stored(server, 3).close()
    with pytest.raises(StoreError, match="it holds products of another index; choose another `collection`"):
        check_ready(connection(server))
    other = ("--collection", "products", "--url", server.url)
    for command in (("ingest", "--index", tmp_path / "index"), ("evaluate",)):
        done = rubrika(command[0], market / "train.parquet", *command[1:], *other, QDRANT_API_KEY=TOKEN)
        assert (done.code, done.out) == (1, "")
        assert "learning" not in done.err
    assert "this API key may not make collections (Forbidden: Global access is required)" in done.err
    assert not (tmp_path / "index").exists()


def test_a_request_has_no_more_bytes_than_a_proxy_takes(server: QdrantOverHttp) -> None:
    products = shelf(40)
    sizes = [payload_bytes({"title": "ж" * 20_000}) + vectors_bytes(each.vectors, is_grpc=False) for each in products]
    sent = list(Batches(128).send(products, len, sizes))
    assert sum(sent) == 40
    assert max(sent) * sizes[0] <= MAX_BYTES < (max(sent) + 1) * sizes[0]
    row = {"text": unit(1)[0]}
    assert vectors_bytes(row, is_grpc=True) == SIZE * 4
    assert vectors_bytes(row, is_grpc=False) >= len(str(np.asarray(row["text"], float).tolist()))


def test_a_batch_that_is_too_large_goes_in_halves_and_so_do_those_after() -> None:
    tried = list[int]()

    def request(items: range) -> int:
        tried.append(len(items))
        if len(items) > 5:
            raise TooLargeError("too large")
        return len(items)

    batches = Batches(16)
    assert sum(batches.send(range(20), request)) == 20
    assert tried == [16, 8, 4, 4, 4, 4, 4]
    tried.clear()
    assert sum(batches.send(range(8), request)) == 8
    assert tried == [4, 4]
