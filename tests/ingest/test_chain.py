"""The whole chain against a server: the stand-in over HTTP, and a real one at QDRANT_URL (with QDRANT_API_KEY).

Everything that is made on a real server begins with one name that nobody else has, and is deleted in the end.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import pytest
from conftest import Run, copied
from points import SIZE, shelf
from qdrant_client import QdrantClient
from qdrant_http import serve
from rows import CASES, row

from rubrika.index.manifest import Manifest, VectorSpec
from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.edge import EdgeStore
from rubrika.store.open import layout_of
from rubrika.store.server import ServerStore

Rubrika = Callable[..., Run]
BAGS = (33, "Все категории->Сумки")
SHELF = [row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(40)]


@dataclass(frozen=True)
class Served:
    """A server, and how everything on it is called that a test makes."""

    url: str
    key: str | None
    name: str
    client: QdrantClient
    lock: Lock = field(default_factory=Lock)  # the stand-in's points are not for two threads at once

    @property
    def environment(self) -> dict[str, str]:
        return {"QDRANT_URL": self.url} | ({"QDRANT_API_KEY": self.key} if self.key else {})

    def named(self, name: str) -> str:
        return f"{self.name}-{name}"

    def collections(self) -> dict[str, int]:
        """How many points each collection of this test has."""
        with self.lock:
            names = [each.name for each in self.client.get_collections().collections]
            return {name: self.client.count(name).count for name in names if name.startswith(self.name)}

    def stands_for(self, name: str) -> str | None:
        named = {each.alias_name: each.collection_name for each in self.client.get_aliases().aliases}
        return named.get(self.named(name))


def over_http() -> Iterator[Served]:
    with serve() as server:
        yield Served(server.url, None, "rubrika-test", server.client, server.lock)


def real() -> Iterator[Served]:
    url, key = os.environ.get("QDRANT_URL"), os.environ.get("QDRANT_API_KEY")
    if not url:
        pytest.skip("no server: QDRANT_URL is not set")
    client = QdrantClient(url=url, api_key=key, check_compatibility=False)
    served = Served(url, key, f"rubrika-test-{uuid.uuid4().hex}", client)
    try:
        yield served
    finally:
        for name in served.collections():
            client.delete_collection(name)
        client.close()


@pytest.fixture(params=[over_http, pytest.param(real, marks=pytest.mark.server)], ids=lambda kind: kind.__name__)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    kind: Callable[[], Iterator[Served]] = request.param
    yield from kind()


@pytest.fixture
def shop(index_of: Callable[..., Path]) -> Path:
    return index_of(SHELF)


@pytest.fixture
def run(rubrika: Rubrika, served: Served) -> Rubrika:
    """A command that is to succeed, with the server in its environment."""

    def _run(*arguments: object) -> Run:
        done = rubrika(*arguments, **served.environment)
        assert done.code == 0, f"{arguments}: {done.out}{done.err}"
        return done

    return _run


def test_an_index_goes_to_a_server_answers_there_and_comes_back(
    run: Rubrika, rubrika: Rubrika, served: Served, shop: Path, tmp_path: Path
) -> None:
    file, at = shop.with_name("products.parquet"), ("--index", shop)
    result, details = tmp_path / "result.parquet", tmp_path / "details.parquet"
    assert rubrika("classify", file, *at, "-o", tmp_path / "folder.parquet").code == 0
    pushed = run("push", "--collection", served.named("shoes"), *at, "--json").json
    assert (pushed["copied"], pushed["total"]) == (40, 40)
    assert served.collections() == {served.stands_for("shoes"): 40}
    for exact in ([], ["--exact"]):
        run("classify", file, *at, "-o", result, "--details", details, *exact)
        assert result.read_bytes() == (tmp_path / "folder.parquet").read_bytes()
    shutil.rmtree(shop / "edge")
    assert run("pull", *at, "--json").json["total"] == 40
    assert rubrika("classify", file, *at, "-o", result).code == 0
    assert result.read_bytes() == (tmp_path / "folder.parquet").read_bytes()
    # It goes on in the collection that was left there.
    assert run("push", "--collection", served.named("shoes"), *at, "--json").json["skipped"] == 40


def test_an_index_lives_on_a_server(run: Rubrika, served: Served, write: Callable[..., Path], tmp_path: Path) -> None:
    goods = [*SHELF, *(row(id, f"сумка {id}", BAGS) for id in range(40, 50))]
    file, at = write(goods), ("--index", tmp_path / "index")
    arguments = ("ingest", file, *at, "--collection", served.named("shop"), "--json")
    assert [run(*arguments).json[count] for count in ("added", "unchanged")] == [50, 50]
    first = served.stands_for("shop")
    moved = write([*goods[1:], row(0, "кеды нулевые"), row(77, "кеды")], "moved.parquet")
    changed = run("ingest", moved, *at, "--json").json
    assert (changed["added"], changed["updated"] + changed["relabelled"]) == (1, 1)
    assert run("delete", "77", *at, "--json").json["deleted"] == 1
    assert run("relabel", "3", str(CASES[0]), *at, "--json").json["relabelled"] == 1
    assert run("relabel", "--from", str(BAGS[0]), "--to", str(CASES[0]), *at, "--json").json["relabelled"] == 10
    assert run("neighbours", "47", *at, "--json").json["neighbours"][0]["category_id"] == CASES[0]
    run("learn", *at)
    assert served.stands_for("shop") != first
    assert served.collections() == {served.stands_for("shop"): 50}
    assert run("info", *at, "--json").json["recall"]["text"]["reached"] == 1
    assert run("check", *at, "--json").json["problems"] == {}
    assert run("evaluate", file, *at, "--collection", served.named("shop"), "--json").json["rows"] == 50


def test_a_second_layout_takes_over_the_name(run: Rubrika, served: Served, shop: Path, tmp_path: Path) -> None:
    at = ("--index", shop)
    for version, options in (("v1", []), ("v2", ["--graph-links", "8", "--search-effort", "64"])):
        run("push", "--collection", served.named(version), "--alias", served.named("shop"), *at, *options)
        assert served.stands_for("shop") == served.named(version)
    assert set(served.collections()) == {served.named("v1"), served.named("v2")}
    recall = run("info", *at, "--json").json["recall"]["text"]
    assert (recall["search_effort"], recall["reached"]) == (64, 1)
    # A copy of the folder asks by the name, too.
    assert run("info", "--index", copied(shop, tmp_path / "copy"), "--json").json["products"] == 40


def test_evaluating_leaves_nothing_there(run: Rubrika, served: Served, write: Callable[..., Path]) -> None:
    asked = ("evaluate", write(SHELF), "--holdout", "0.2", "--collection", served.named("try"), "--json")
    assert run(*asked).json["weighted_f1"] > 0.5
    assert served.collections() == {}


def test_the_graph_goes_by_the_number_of_products(served: Served) -> None:
    at = Connection(served.url, served.named("graph"), served.key)
    store, points = ServerStore(at, {"text": SIZE}, create=ServerOptions(graph_from=500)), shelf(600)
    for count, effort in ((400, None), (600, 1_024)):
        store.upsert(points[:count])
        store.optimise()
        assert store.recall["text"].hnsw_ef == effort
        assert (store.recall["text"].reached or 0) > 0.99
    layout = layout_of(ServerStore(at))
    assert layout
    assert layout.graph == (500, 16)
    store.close()


def test_a_client_that_is_killed_goes_on_where_it_was(run: Rubrika, served: Served, tmp_path: Path) -> None:
    count, folder = 6_000, tmp_path / "index"
    folder.mkdir()
    store = EdgeStore.create(folder / "edge", {"text": SIZE})
    store.upsert(shelf(count))
    store.close()
    Manifest({"text": VectorSpec("learned", SIZE, "ab" * 32)}).write(folder)
    push = ("push", "--collection", served.named("killed"), "--index", str(folder), "--json")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("QDRANT_", "RUBRIKA_"))}
    command = [str(Path(sys.executable).with_name("rubrika")), *push]
    with subprocess.Popen(command, env=environment | served.environment, stderr=subprocess.DEVNULL) as client:
        while not sum(served.collections().values()):
            assert client.poll() is None
            time.sleep(0.02)
        client.send_signal(signal.SIGKILL)
    begun = served.collections()
    assert 0 < sum(begun.values()) < count
    again = run(*push).json
    assert (again["total"], again["skipped"] >= sum(begun.values())) == (count, True)
    assert served.collections() == {served.stands_for("killed"): count}
    assert list(begun) == [served.stands_for("killed")]
