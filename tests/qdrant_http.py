"""A real HTTP server that answers as Qdrant does, its points in the client's memory mode, and that fails on demand.

The wire, the client's requests, its timeouts and broken connections are real; only the engine behind is not.
"""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel
from qdrant_client import QdrantClient, models

Json = dict[str, Any]

COLLECTION = re.compile(r"/collections/([^/]+)(/.*)?")


class QdrantOverHttp:
    """Collections in memory, served on a local port.

    Attributes:
        api_key: the key that every request must carry, when there is one.
        read_only_key: a key that may only read.
        dropped: how many of the next requests find the connection closed.
        seconds: how long every answer takes.
        answered: method and path of every request that got an answer.
        created: how each collection was to be laid out, by name.
        layouts: what has become of that, as its configuration says it.
        searches: every search.
        strict: limits of strict mode, by their names in a collection's configuration.
    """

    def __init__(
        self, api_key: str | None = None, read_only_key: str | None = None, client: QdrantClient | None = None
    ) -> None:
        self.client = client or QdrantClient(":memory:")
        self.api_key, self.read_only_key = api_key, read_only_key
        self.dropped, self.seconds = 0, 0.0
        self.answered: list[tuple[str, str]] = []
        self.created: dict[str, Json] = {}
        self.layouts: dict[str, Json] = {}
        self.searches: list[Json] = []
        self.strict: Json = {}
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}"

    def refusal(self, method: str, path: str, key: str | None) -> str | None:
        if self.api_key is None or key == self.api_key:
            return None
        if key is None or key != self.read_only_key:
            return "Invalid API key or JWT"
        writes = method not in ("GET", "POST") or path.endswith(("/delete", "/points/batch", "/aliases"))
        return "Forbidden: write access is required" if writes and method != "GET" else None

    def answer(self, method: str, path: str, body: Json) -> object:
        if path == "/collections/aliases":
            actions = models.ChangeAliasesOperation.model_validate(body).actions
            return self.client.update_collection_aliases(actions)
        if path == "/aliases":
            return self.client.get_aliases()
        if path.endswith("/query/batch"):
            self.searches += body["searches"]
            for search in body["searches"]:
                self.check_limits(search["limit"], search["params"])
        name, rest = COLLECTION.fullmatch(path).groups()
        answer = ANSWERS[method, rest or ""](self.client, unquote(name), body)
        if (method, rest) == ("PUT", None):
            self.created[unquote(name)], self.layouts[unquote(name)] = body, dict(body)
        if (method, rest) in (("GET", None), ("PATCH", None)):
            # A layout is that of a collection, whatever alias it goes by; the memory mode knows none.
            real = next((at for at in self.layouts if at == self.real_name(unquote(name))), None)
            laid_out = self.layouts.get(real or "", {})
            if method == "PATCH":
                graph = laid_out.get("hnsw_config", {}) | (body.get("hnsw_config") or {})
                laid_out |= {"hnsw_config": graph}
            else:
                answer.config.hnsw_config.m = 0
                for part, value in laid_out.items():
                    lay_out(answer.config, part, value)
        if (method, rest) == ("GET", None) and self.strict:
            answer.config.strict_mode_config = models.StrictModeConfigOutput(enabled=True, **self.strict)
        return answer

    def real_name(self, name: str) -> str:
        aliases = {each.alias_name: each.collection_name for each in self.client.get_aliases().aliases}
        return aliases.get(name, name)

    def check_limits(self, limit: int, params: Json) -> None:
        oversampling = params["quantization"].get("oversampling")
        for name, value, most in (
            ("limit", limit, self.strict.get("max_query_limit")),
            ("oversampling", oversampling, self.strict.get("search_max_oversampling")),
            ("exact", params.get("exact"), self.strict.get("search_allow_exact")),
        ):
            if most is not None and value is not None and value > most:
                raise ValueError(f'Limit exceeded {value} > {most} for "{name}".')


def lay_out(config: models.CollectionConfig, part: str, value: Any) -> None:  # noqa: ANN401 - of JSON
    """Have a collection's configuration say what it was laid out with."""
    if part == "hnsw_config":
        config.hnsw_config = config.hnsw_config.model_copy(update=value)
    elif part == "quantization_config" and value:
        config.quantization_config = (
            models.TurboQuantization.model_validate(value)
            if "turbo" in value
            else models.ScalarQuantization.model_validate(value)
        )
    elif part in ("shard_number", "replication_factor", "write_consistency_factor") and value:
        setattr(config.params, part, value)


def create(client: QdrantClient, name: str, body: Json) -> object:
    made = models.CreateCollection.model_validate(body)
    return client.create_collection(name, vectors_config=made.vectors, metadata=made.metadata)


def upsert(client: QdrantClient, name: str, body: Json) -> object:
    return client.upsert(name, models.PointsList.model_validate(body).points)


def update(client: QdrantClient, name: str, body: Json) -> object:
    return client.batch_update_points(name, models.UpdateOperations.model_validate(body).operations)


def query(client: QdrantClient, name: str, body: Json) -> object:
    requests = models.QueryRequestBatch.model_validate(body).searches
    if isinstance(client, QdrantClient):
        # The memory mode searches exactly, and warns of every parameter that it has no use for.
        requests = [request.model_copy(update={"params": None}) for request in requests]
    return client.query_batch_points(name, requests)


def scroll(client: QdrantClient, name: str, body: Json) -> object:
    found = client.scroll(
        name,
        limit=body["limit"],
        offset=body.get("offset"),
        with_payload=body["with_payload"],
        with_vectors=body["with_vector"],
    )
    return {"points": found[0], "next_page_offset": found[1]}


ANSWERS: dict[tuple[str, str], Callable[[QdrantClient, str, Json], object]] = {
    ("PUT", ""): create,
    ("GET", ""): lambda client, name, body: client.get_collection(name),
    ("DELETE", ""): lambda client, name, body: client.delete_collection(name),
    ("PATCH", ""): lambda client, name, body: client.update_collection(name, metadata=body.get("metadata")),
    # The memory mode has no payload indexes.
    ("PUT", "/index"): lambda client, name, body: {"operation_id": 0, "status": "completed"},
    ("PUT", "/points"): upsert,
    ("PUT", "/points/vectors"): lambda client, name, body: client.update_vectors(
        name, models.UpdateVectors.model_validate(body).points
    ),
    ("POST", "/points/batch"): update,
    ("POST", "/points/delete"): lambda client, name, body: client.delete(name, body["points"]),
    ("POST", "/points/vectors/delete"): lambda client, name, body: client.delete_vectors(
        name, body["vector"], body["points"]
    ),
    ("POST", "/points"): lambda client, name, body: client.retrieve(
        name, body["ids"], body["with_payload"], body["with_vector"]
    ),
    ("POST", "/points/query/batch"): query,
    ("POST", "/points/scroll"): scroll,
    ("POST", "/points/count"): lambda client, name, body: client.count(name),
    ("POST", "/facet"): lambda client, name, body: client.facet(name, body["key"], limit=body["limit"]),
}


@contextmanager
def serve(
    api_key: str | None = None, read_only_key: str | None = None, client: QdrantClient | None = None
) -> Iterator[QdrantOverHttp]:
    """Serve on a free port of this machine until the block ends; `client` has the points, by default in memory."""
    server = QdrantOverHttp(api_key, read_only_key, client)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
        server.client.close()


def _handler(server: QdrantOverHttp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(server.seconds)
            with server.lock:
                if server.dropped > 0:
                    server.dropped -= 1
                    self.close_connection = True
                    return
                path = self.path.split("?")[0]
                refusal = server.refusal(self.command, path, self.headers.get("api-key"))
                if refusal:
                    self.say(401 if "Invalid" in refusal else 403, {"status": {"error": refusal}})
                    return
                server.answered.append((self.command, path))
                try:
                    result = server.answer(self.command, path, json.loads(body or b"{}"))
                except (ValueError, KeyError) as error:
                    missing = isinstance(error, KeyError) or "not found" in str(error)
                    said = f"Not found: {error}" if missing else f"Wrong input: {error}"
                    self.say(404 if missing else 400, {"status": {"error": said}})
                    return
                self.say(200, {"result": result, "status": "ok", "time": 0.0})

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def say(self, status: int, content: dict[str, Any]) -> None:
            raw = json.dumps(content, default=_plain).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            try:
                self.wfile.write(raw)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _plain(model: BaseModel) -> Json:
    return model.model_dump(mode="json", exclude_none=True)
