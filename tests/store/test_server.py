"""What goes wrong with a server is one sentence; what passes is tried again; the key is never said."""

import logging
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from points import SIZE, product, shelf, unit
from qdrant_client import models
from qdrant_http import QdrantOverHttp, serve

from rubrika.errors import StoreError
from rubrika.store.base import Point
from rubrika.store.client import connect
from rubrika.store.collection import layout
from rubrika.store.connection import Connection, Recall, ServerOptions, Transport
from rubrika.store.faults import RetryingClient, RetryPolicy
from rubrika.store.open import temporary_collection
from rubrika.store.server import ServerStore, delete_collection, switch_alias

KEY = "tiN8-secret-oL3vq"
SIZES = {"text": SIZE}
BRIEF = RetryPolicy(tries=5, first_wait=0.01)

NEW = ServerOptions()


@pytest.fixture
def server() -> Iterator[QdrantOverHttp]:
    with serve() as running:
        yield running


@pytest.fixture
def guarded() -> Iterator[QdrantOverHttp]:
    with serve(api_key=KEY, read_only_key="read-only-key") as running:
        yield running


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def sentence(work: Callable[[], object]) -> str:
    """The message of the StoreError that `work` ends with: one sentence, and nowhere the key."""
    with pytest.raises(StoreError) as failure:
        work()
    said = str(failure.value)
    assert "\n" not in said
    shown = "".join(traceback.format_exception(failure.value)) + repr(failure.value)
    assert KEY not in shown
    assert "During handling" not in shown
    return said


def test_no_server_is_said_at_once() -> None:
    port = closed_port()
    said = sentence(lambda: ServerStore(Connection(f"http://127.0.0.1:{port}", "products", KEY)))
    assert said.startswith(f"http://127.0.0.1:{port}: no server answers")
    assert said.endswith("start it, or correct the url")


def test_an_unknown_host_is_said() -> None:
    said = sentence(lambda: ServerStore(Connection("https://qdrant.invalid:6399", "products", KEY)))
    assert said.startswith("https://qdrant.invalid:6399: no server answers")


def test_a_wrong_key_is_said(guarded: QdrantOverHttp) -> None:
    said = sentence(lambda: ServerStore(Connection(guarded.url, "products", "wrong-" + KEY)))
    assert said.endswith(
        "the server refuses this API key (Invalid API key or JWT); set QDRANT_API_KEY to one that it knows"
    )


def test_a_missing_key_is_said(guarded: QdrantOverHttp) -> None:
    said = sentence(lambda: ServerStore(Connection(guarded.url, "products")))
    assert said.endswith("the server wants an API key (Invalid API key or JWT); set QDRANT_API_KEY")


def test_the_read_only_key_searches_and_does_not_write(guarded: QdrantOverHttp) -> None:
    ServerStore(Connection(guarded.url, "products", KEY), SIZES, create=NEW).upsert(shelf(3))
    reading = ServerStore(Connection(guarded.url, "products", "read-only-key"), SIZES)
    assert reading.count() == 3
    assert "may not do that (Forbidden: Global manage access is required)" in sentence(lambda: reading.upsert(shelf(1)))


def test_a_server_that_hangs_is_given_up(server: QdrantOverHttp) -> None:
    server.seconds = 1.5
    said = sentence(lambda: ServerStore(Connection(server.url, "products", KEY, timeout=1)))
    assert "no answer within 1 seconds" in said


def test_a_missing_collection_is_said(server: QdrantOverHttp) -> None:
    said = sentence(lambda: ServerStore(Connection(server.url, "products")))
    assert said.endswith("no collection «products» here; make it with `rubrika ingest` or `rubrika push`")


def test_what_is_no_qdrant_is_said() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 404 Not SearchResult\r\nContent-Length: 5\r\n\r\nhello")

    thread = threading.Thread(target=answer)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert sentence(lambda: ServerStore(Connection(url, "products"))).endswith(
        "is not a Qdrant server; correct the url"
    )
    thread.join()
    listener.close()


def test_other_vectors_than_the_index_has_are_said(server: QdrantOverHttp) -> None:
    connection = Connection(server.url, "products")
    ServerStore(connection, SIZES, create=NEW).close()
    for wrong in ({"text": 9}, {"image": SIZE}, {"text": SIZE, "image": 4}):
        assert "its vectors are not the index's" in sentence(lambda wrong=wrong: ServerStore(connection, wrong))
        assert "its vectors are not the index's" in sentence(
            lambda wrong=wrong: ServerStore(connection, wrong, create=NEW)
        )


def test_another_distance_is_another_schema(server: QdrantOverHttp) -> None:
    server.client.create_collection("products", {"text": models.VectorParams(size=SIZE, distance="Euclid")})
    said = sentence(lambda: ServerStore(Connection(server.url, "products"), SIZES))
    assert "it holds «text» (8 × Euclid), the index «text» (8 × Dot)" in said


def test_a_collection_of_somebody_else_is_not_written_to(server: QdrantOverHttp) -> None:
    connection = Connection(server.url, "recipes")
    server.client.create_collection("recipes", {"text": models.VectorParams(size=SIZE, distance="Dot")})
    server.client.upsert("recipes", [models.PointStruct(id=1, vector={"text": unit(1)[0].tolist()}, payload={})])
    assert "points that Rubrika did not write" in sentence(lambda: ServerStore(connection, SIZES, create=NEW))
    opened = ServerStore(connection, SIZES)
    assert "it was not made by Rubrika" in sentence(lambda: opened.upsert(shelf(1)))
    assert "point 1 is not a product with a category_id" in sentence(lambda: opened.search("text", unit(1), 1))
    assert opened.count() == 1
    server.client.delete("recipes", [1])
    soup = models.PointStruct(id=str(UUID(int=7)), vector={"text": unit(1)[0].tolist()}, payload={"category_id": 1})
    server.client.upsert("recipes", [soup])
    for work in (lambda: opened.search("text", unit(1), 1), lambda: list(opened.scroll())):
        assert f"point {UUID(int=7)} is not a product with a product_id" in sentence(work)


def test_an_empty_collection_is_taken_over_and_ours_taken_up(server: QdrantOverHttp) -> None:
    connection = Connection(server.url, "products")
    server.client.create_collection("products", {"text": models.VectorParams(size=SIZE, distance="Dot")})
    ServerStore(connection, SIZES, create=NEW).upsert(shelf(2))
    again = ServerStore(connection, SIZES, create=NEW)
    assert again.count() == 2
    again.upsert(shelf(3))
    assert ServerStore(connection).sizes == SIZES
    assert again.count() == 3


def test_a_vector_is_checked_before_it_is_sent(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, create=NEW)
    said = sentence(lambda: store.upsert([Point(5, {"text": np.ones(3, np.float32)}, {})]))
    assert said.endswith("product 5 has 3 numbers in «text», the collection 8")
    said = sentence(lambda: store.upsert([Point(5, {"text": np.full(SIZE, np.nan, np.float32)}, {})]))
    assert said.endswith("product 5 has a «text» vector with numbers that are not finite")
    assert "it has no «joint» vector; it has text" in sentence(lambda: store.search("joint", unit(1), 1))
    assert store.count() == 0


def test_dropped_connections_are_tried_again_and_lose_nothing(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, policy=BRIEF, create=NEW)
    server.dropped = 4
    server.answered.clear()
    store.upsert(shelf(700))
    assert server.dropped == 0
    assert server.answered.count(("PUT", "/collections/products/points")) == 6
    assert store.count() == 700
    server.dropped = 2
    assert np.isfinite(store.search("text", unit(3), 2).scores).all()


def test_a_server_that_stays_away_ends_the_run_and_a_second_run_completes_it(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products", KEY), SIZES, policy=BRIEF, create=NEW)
    store.upsert(shelf(300))
    server.dropped = 10**6
    assert "no server answers" in sentence(lambda: store.upsert(shelf(900)))
    server.dropped = 0
    store.upsert(shelf(900))
    assert store.count() == 900


def test_a_server_that_dies_in_the_middle_and_comes_back_is_waited_for() -> None:
    with serve() as server, Proxy(server.http.server_address[1]) as front:
        policy = RetryPolicy(tries=7, first_wait=0.1)
        store = ServerStore(Connection(front.url, "products"), SIZES, policy=policy, create=NEW)
        front.dies_after = 3
        store.upsert(shelf(900))
        assert front.deaths == 1
        assert store.count() == 900


def test_waits_grow_are_bounded_and_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = Connection(f"http://127.0.0.1:{closed_port()}", "products")
    waits: list[list[float]] = [[], []]
    for run in waits:
        monkeypatch.setattr("rubrika.store.faults.time.sleep", run.append)
        client = connect(connection)
        caller = RetryingClient(connection, RetryPolicy(seed=3))
        assert "no server answers" in sentence(lambda caller=caller, client=client: caller(client.get_collections))
        client.close()
    assert waits[0] == waits[1]
    assert len(waits[0]) == 6
    assert all(0.25 * 2**i <= wait <= min(0.5 * 2**i, 15) for i, wait in enumerate(waits[0]))


def test_the_key_is_in_no_repr_and_no_log(guarded: QdrantOverHttp, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    connection = Connection(guarded.url, "products", KEY)
    store = ServerStore(connection, SIZES, policy=BRIEF, create=NEW)
    guarded.dropped = 2
    store.upsert(shelf(10))
    store.search("text", unit(1), 1)
    assert KEY not in repr(connection) + str(connection) + repr(store)
    assert caplog.text
    assert KEY not in caplog.text


def test_a_server_that_repeats_the_key_in_its_answer_is_not_quoted(guarded: QdrantOverHttp) -> None:
    store = ServerStore(Connection(guarded.url, "products", KEY), SIZES, create=NEW)
    guarded.answer = lambda *_: (_ for _ in ()).throw(ValueError(f"bad header api-key: {KEY}"))
    assert sentence(store.count).endswith("the server refused (Wrong input: bad header api-key: …)")


@pytest.mark.parametrize("url", ["http://shop.example:6333", "http://10.0.0.7:6333"])
def test_a_key_does_not_cross_a_network_in_the_clear(url: str) -> None:
    said = sentence(lambda: Connection(url, "products", KEY))
    assert said.endswith("use https://, or QDRANT_ALLOW_HTTP=1 in a network that you trust")
    Connection(url, "products", KEY, transport=Transport.of({"QDRANT_ALLOW_HTTP": "1"}))
    Connection(url.replace("http:", "https:"), "products", KEY)
    Connection(url, "products")


@pytest.mark.parametrize("url", ["http://localhost:6333", "http://127.0.0.1", "http://[::1]:6333"])
def test_a_key_may_go_to_this_machine(url: str) -> None:
    assert Connection(url, "products", KEY).is_loopback


@pytest.mark.parametrize(
    "url", ["localhost:6333", "ftp://shop.example", "http://", "http://h:99999", "", "http://h?q=1", "http://h\x1bc"]
)
def test_an_url_that_is_none_is_said(url: str) -> None:
    assert "url" in sentence(lambda: Connection(url, "products"))


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    assert "QDRANT_API_KEY instead" in sentence(lambda: Connection(f"https://me:{KEY}@shop.example", "products"))


def test_a_key_with_a_line_break_is_refused_and_not_repeated() -> None:
    assert "copy it again" in sentence(lambda: Connection("http://127.0.0.1:6333", "products", KEY + "\n"))


def test_an_alias_switches_to_a_collection_encoded_anew(server: QdrantOverHttp) -> None:
    first, second = (Connection(server.url, name) for name in ("products-1", "products-2"))
    for connection, count in ((first, 2), (second, 5)):
        ServerStore(connection, SIZES, create=NEW).upsert(shelf(count))
    switch_alias(first, "products")
    store = ServerStore(Connection(server.url, "products"), SIZES)
    assert store.count() == 2
    switch_alias(second, "products")
    assert store.count() == 5
    missing = Connection(server.url, "products-3")
    assert "no collection «products-3»" in sentence(lambda: switch_alias(missing, "products"))
    assert store.count() == 5


def test_a_name_that_is_taken_is_no_alias(server: QdrantOverHttp) -> None:
    products = Connection(server.url, "products")
    ServerStore(products, SIZES, create=NEW).close()
    server.client.create_collection("recipes", {"text": models.VectorParams(size=SIZE, distance="Dot")})
    named = models.CreateAlias(collection_name="recipes", alias_name="food")
    server.client.update_collection_aliases([models.CreateAliasOperation(create_alias=named)])
    assert "an alias cannot be called as its collection" in sentence(lambda: switch_alias(products, "products"))
    assert "«recipes»" in sentence(lambda: switch_alias(products, "recipes"))
    assert "a collection that Rubrika did not make" in sentence(lambda: switch_alias(products, "food"))
    assert server.client.get_collection_aliases("recipes").aliases[0].alias_name == "food"


def test_only_our_collections_are_deleted(server: QdrantOverHttp) -> None:
    ServerStore(Connection(server.url, "products"), SIZES, create=NEW).close()
    server.client.create_collection("recipes", {"text": models.VectorParams(size=SIZE, distance="Dot")})
    for _ in range(2):
        delete_collection(Connection(server.url, "products"))
    assert "it was not made by Rubrika" in sentence(lambda: delete_collection(Connection(server.url, "recipes")))
    assert [each.name for each in server.client.get_collections().collections] == ["recipes"]


def test_a_temporary_collection_that_could_not_be_deleted_is_named(server: QdrantOverHttp) -> None:
    def work() -> None:
        with temporary_collection(Connection(server.url, "products")) as place:
            ServerStore(place, SIZES, create=NEW).close()
            server.dropped = 10**6

    assert re.search("the temporary collection «products-evaluate-[0-9a-f]{32}» may be left there", sentence(work))


@pytest.mark.parametrize(
    "change",
    [
        lambda store: store.delete([1]),
        lambda store: store.replace_payloads({1: {"category_id": 7}}),
    ],
    ids=["delete", "payload"],
)
def test_products_of_somebody_else_are_not_changed(
    server: QdrantOverHttp, change: Callable[[ServerStore], None]
) -> None:
    server.client.create_collection("recipes", {"text": models.VectorParams(size=SIZE, distance="Dot")})
    server.client.upsert("recipes", [models.PointStruct(id=1, vector={"text": unit(1)[0].tolist()}, payload={})])
    store = ServerStore(Connection(server.url, "recipes"), SIZES)
    assert "it was not made by Rubrika" in sentence(lambda: change(store))
    assert store.fetch([1])[1].payload == {}


def test_changes_are_tried_again_when_the_connection_drops(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, policy=BRIEF, create=NEW)
    store.upsert(shelf(400))
    server.dropped = 4
    store.replace_payloads({id: {"category_id": 7} for id in range(1, 401)})
    assert store.facet("category_id") == {7: 400}
    server.dropped = 2
    store.delete(range(1, 301))
    assert (server.dropped, store.count()) == (0, 100)


def test_a_product_that_is_not_there_is_said(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, create=NEW)
    said = sentence(lambda: store.replace_payloads({5: {"category_id": 1}}))
    assert "the server refused (Not found: 5" in said


def test_options_become_the_layout_of_the_collection() -> None:
    plain = layout(SIZES, ServerOptions())
    assert plain["hnsw_config"].m == 0
    assert (plain["quantization_config"].scalar.type, plain["quantization_config"].scalar.quantile) == ("int8", 0.98)
    chosen = ServerOptions(
        shards=6, replicas=2, write_consistency=2, on_disk=True, quantisation="turbo", hnsw_m=16, ef_construct=200
    )
    made = layout(SIZES, chosen)
    assert made["vectors_config"]["text"].on_disk
    assert made["quantization_config"].turbo.bits == "bits4"
    assert (made["shard_number"], made["replication_factor"], made["write_consistency_factor"]) == (6, 2, 2)
    assert (made["hnsw_config"].m, made["hnsw_config"].ef_construct) == (16, 200)
    assert layout(SIZES, ServerOptions(quantisation="none"))["quantization_config"] is None


def test_a_graph_is_made_beyond_a_size_and_dropped_below_half_of_it(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, create=ServerOptions(graph_from=200))

    def links() -> int:
        return int(server.layouts["products"]["hnsw_config"]["m"])

    found = list[tuple[int, int | None]]()
    for change in (
        lambda: store.upsert(shelf(190)),
        lambda: store.upsert(shelf(210)),
        lambda: store.delete(range(1, 101)),
    ):
        change()
        store.optimise()
        found.append((links(), store.recall["text"].hnsw_ef))
    assert found == [(0, None), (16, 1_024), (16, 1_024)]
    store.delete(range(101, 121))
    store.optimise()
    assert (links(), store.recall["text"].hnsw_ef) == (0, None)
    assert ServerStore(Connection(server.url, "products")).layout().graph == (200, 16)


@pytest.mark.parametrize(("options", "links"), [(ServerOptions(hnsw_m=24), 24), (ServerOptions(hnsw_m=0), 0)])
def test_whoever_says_how_many_links_has_them_at_any_size(
    server: QdrantOverHttp, options: ServerOptions, links: int
) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, create=options)
    store.upsert(shelf(20))
    store.optimise()
    assert server.layouts["products"]["hnsw_config"]["m"] == links
    assert options.graph == (0, links)


def test_a_collection_that_is_there_gets_the_graph_that_is_asked_for_and_keeps_the_rest(
    server: QdrantOverHttp,
) -> None:
    connection = Connection(server.url, "products")
    ServerStore(connection, SIZES, create=ServerOptions(shards=2)).upsert(shelf(20))
    store = ServerStore(connection, SIZES, create=ServerOptions(shards=6, hnsw_m=24))
    assert store.kept == ["`shards` 2"]
    store.optimise()
    assert server.layouts["products"]["hnsw_config"]["m"] == 24
    ServerStore(connection, SIZES, create=NEW).optimise()
    assert server.layouts["products"]["hnsw_config"]["m"] == 24


def test_a_collection_of_an_earlier_version_gets_its_graph_by_size(server: QdrantOverHttp) -> None:
    made = layout(SIZES, ServerOptions(hnsw_m=0))
    server.client.create_collection("products", made["vectors_config"], metadata={"rubrika": {"layout": 1}})
    assert ServerStore(Connection(server.url, "products")).layout().graph == (500_000, 16)


def test_why_a_server_could_not_optimise_is_said(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, create=NEW)
    store.upsert(shelf(20))
    answer, reason = server.answer, "Not enough space available for optimization, needed: 187.48 MiB"

    def red(method: str, path: str, body: dict[str, object]) -> object:
        said = answer(method, path, body)
        if (method, path) == ("GET", "/collections/products"):
            failed = models.OptimizersStatusOneOf1(error=f"Service runtime error: {reason}")
            return said.model_copy(update={"status": models.CollectionStatus.RED, "optimizer_status": failed})
        return said

    server.answer = red
    assert f"failed to optimise it (Service runtime error: {reason}); its points are kept" in sentence(store.optimise)
    assert store.count() == 20


def test_a_server_in_strict_mode_is_searched_within_its_limits(server: QdrantOverHttp) -> None:
    server.strict = {"search_allow_exact": False, "search_max_oversampling": 4.0, "max_query_limit": 8}
    store = ServerStore(Connection(server.url, "products"), SIZES, create=ServerOptions(hnsw_m=16))
    same = unit(1)[0]
    store.upsert([product(id, same) for id in range(30, 10, -1)])
    store.optimise()
    assert store.recall == {"text": Recall(hnsw_ef=1_024, oversampling=4.0, reached=None, products=0)}
    assert np.isfinite(store.search("text", same[None], 5).scores).all()
    assert np.isfinite(store.search("text", same[None], 8).scores).all()
    assert [(search["limit"], search["params"]["quantization"]["oversampling"]) for search in server.searches] == [
        *[(6, 4.0), (8, 4.0)],
        (8, 4.0),
    ]
    assert "Limit exceeded 9 > 8" in sentence(lambda: store.search("text", same[None], 9))


def test_nothing_else_imports_the_client() -> None:
    rooms = [path for path in Path(__file__).parents[2].glob("[a-z]*/*.py") if path.parent.name != "tests"]
    importing = {path.name for path in rooms if re.search("^(import|from) qdrant_client", path.read_text(), re.M)}
    assert importing == {"client.py", "collection.py", "faults.py", "look.py", "server.py"}


class Proxy:
    """A TCP proxy to a local port that dies after some connections and half a second later is back on its port."""

    def __init__(self, target: int) -> None:
        self.target, self.port = target, 0
        self.dies_after, self.deaths = 10**6, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Proxy":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()

    def start(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        self.accepting = threading.Thread(target=self.accept)
        self.accepting.start()

    def accept(self) -> None:
        with self.listener:
            while self.dies_after > 0:
                try:
                    near, _ = self.listener.accept()
                except OSError:
                    return
                self.dies_after -= 1
                threading.Thread(target=self.join, args=(near,), daemon=True).start()
        self.dies_after, self.deaths = 10**6, self.deaths + 1
        time.sleep(0.5)
        self.start()

    def join(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self.target)) as far:
            sending = threading.Thread(target=pipe, args=(near, far), daemon=True)
            sending.start()
            pipe(far, near)
            sending.join()


def pipe(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_a_server_counts_what_people_filter_by_in_its_web_ui(server: QdrantOverHttp) -> None:
    store = ServerStore(Connection(server.url, "products"), SIZES, policy=BRIEF, create=NEW)
    store.upsert(shelf(7))
    assert store.facet("category")["Чайники"] == 2
    assert store.facet("category_levels")["Все категории"] == 7
