"""A real HTTP server that answers as Qdrant does, its points in the client's memory mode, and that fails on demand.

The wire, the client's requests, its timeouts and broken connections are real; only the engine behind is not.
"""

import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from pydantic import BaseModel
from qdrant_client import QdrantClient, models
from qdrant_rules import Asked, Json, Refused, Rules

COLLECTION = re.compile(r"/collections/([^/]+)(/.*)?")


class QdrantOverHttp(Rules):
    """Collections in memory, served on a local port, with or without TLS.

    Attributes:
        dropped: how many of the next requests find the connection closed.
        seconds: how long every answer takes.
        answered: method and path of every request that got an answer.
        searches: every search.
    """

    def __init__(
        self,
        api_key: str | None = None,
        read_only_key: str | None = None,
        client: QdrantClient | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(api_key, read_only_key, client)
        self.dropped, self.seconds = 0, 0.0
        self.answered: list[tuple[str, str]] = []
        self.searches: list[Json] = []
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.http.daemon_threads = True
        self.scheme = "https" if tls else "http"
        if tls:
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.http.server_address[1]}"

    def answer(self, method: str, path: str, body: Json) -> object:
        if path == "/collections/aliases":
            actions = models.ChangeAliasesOperation.model_validate(body).actions
            return self.client.update_collection_aliases(actions)
        if path == "/collections":
            return self.client.get_collections()
        if path in SERVER:
            return SERVER[path]
        if path.endswith("/query/batch"):
            self.searches += body["searches"]
        name, rest = COLLECTION.fullmatch(path).groups()
        name, rest = unquote(name), rest or ""
        if (method, rest) == ("PUT", ""):
            self.created[name], self.layouts[name] = body, dict(body)
        if (method, rest) == ("PATCH", ""):
            self.change(name, body)
        if (method, rest) == ("PUT", "/index"):
            self.indexes.setdefault(self.real_name(name), {})[body["field_name"]] = body["field_schema"]
        if (method, rest) == ("GET", ""):
            return self.info(name)
        return ANSWERS[method, rest](self.client, name, body)


# What the server says of itself.
SERVER: dict[str, Json] = {
    "/": {"title": "qdrant", "version": "1.18.3"},
    "/cluster": {"status": "disabled"},
    "/telemetry": {
        "app": {"system": {"ram_size": 4_194_304, "disk_size": 20_971_520}},
        "memory": {"resident_bytes": 123_456_789},
    },
}
READS = {"/points", "/points/query/batch", "/points/scroll", "/points/count", "/facet"}


def asked(method: str, path: str, body: Json) -> Asked:
    """What a request is about, as far as keys and limits are concerned."""
    found = COLLECTION.fullmatch(path)
    if path == "/":
        return Asked("greet")
    if not found or path == "/collections/aliases":
        return Asked("manage" if method != "GET" else "list" if path in ("/aliases", "/collections") else "read")
    name, rest = unquote(found[1]), found[2] or ""
    if (method, rest) in (("GET", ""), ("GET", "/cluster")):
        return Asked("read", name)
    if rest == "":
        return Asked("manage", name)
    if method != "POST" or rest not in READS:
        points = body.get("points") or body.get("operations") or ()
        return Asked("write", name, len(points), {"upsert limit": len(points)} if rest == "/points" else {})
    limits = {"limit": body.get("limit"), "search batch size": None}
    searches = body.get("searches", ())
    if searches:
        params = [search.get("params") or {} for search in searches]
        limits = {
            "limit": max(search["limit"] for search in searches),
            "search batch size": len(searches),
            "oversampling": max((each.get("quantization") or {}).get("oversampling") or 0 for each in params),
            "hnsw_ef": max(each.get("hnsw_ef") or 0 for each in params),
        }
        return Asked("read", name, len(searches), limits, any(it.get("exact") for it in params), searches[0]["using"])
    return Asked("read", name, len(body.get("ids", "1")), limits, bool(body.get("exact")))


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
    wanted = body.get("filter")
    found = client.scroll(
        name,
        scroll_filter=wanted and models.Filter.model_validate(wanted),
        limit=body["limit"],
        offset=body.get("offset"),
        with_payload=body["with_payload"],
        with_vectors=body["with_vector"],
    )
    return {"points": found[0], "next_page_offset": found[1]}


ANSWERS: dict[tuple[str, str], Callable[[QdrantClient, str, Json], object]] = {
    ("PUT", ""): create,
    ("DELETE", ""): lambda client, name, body: client.delete_collection(name),
    ("PATCH", ""): lambda client, name, body: client.update_collection(name, metadata=body.get("metadata")),
    ("GET", "/cluster"): lambda client, name, body: {
        "peer_id": 7,
        "shard_count": 1,
        "local_shards": [{"shard_id": 0, "points_count": client.count(name).count, "state": "Active"}],
        "remote_shards": [],
        "shard_transfers": [],
    },
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
    api_key: str | None = None,
    read_only_key: str | None = None,
    client: QdrantClient | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[QdrantOverHttp]:
    """Serve on a free port of this machine until the block ends; `client` has the points, by default in memory."""
    server = QdrantOverHttp(api_key, read_only_key, client, tls)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
        server.client.close()


@contextmanager
def gone_after_upserts(server: QdrantOverHttp, count: int) -> Iterator[None]:
    """Close every connection once so many requests to write points were answered, until the block ends."""
    answer, points = server.answer, 0

    def answer_some(method: str, path: str, body: Json) -> object:
        nonlocal points
        points += (method, path[-7:]) == ("PUT", "/points")
        if points == count:
            server.dropped = 1_000_000
        return answer(method, path, body)

    server.answer = answer_some
    yield
    server.dropped, server.answer = 0, answer


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
                if server.body_limit is not None and len(body) > server.body_limit:
                    self.say(413, b"<html><head><title>413 Request Entity Too Large</title></head></html>")
                    return
                given, key = json.loads(body or b"{}"), self.headers.get("api-key")
                try:
                    server.admit(key, asked(self.command, path, given))
                    server.answered.append((self.command, path))
                    is_list = path == "/aliases"
                    result = server.aliases(key) if is_list else server.answer(self.command, path, given)
                except Refused as no:
                    # Of keys that it does not know, the server speaks plainly.
                    text = no.text.encode() if no.code == "UNAUTHENTICATED" else {"status": {"error": no.text}}
                    self.say(no.status, text, no.retry_after)
                    return
                except (ValueError, KeyError) as error:
                    missing = isinstance(error, KeyError) or "not found" in str(error)
                    said = f"Not found: {error}" if missing else f"Wrong input: {error}"
                    self.say(404 if missing else 400, {"status": {"error": said}})
                    return
                # The version alone stands in no envelope.
                self.say(200, result if path == "/" else {"result": result, "status": "ok", "time": 0.0})

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any  # noqa: N815

        def say(self, status: int, content: dict[str, Any] | bytes, retry_after: int | None = None) -> None:
            is_plain = isinstance(content, bytes)
            raw = content if is_plain else json.dumps(content, default=_plain).encode()
            self.send_response(status)
            kind = "application/json" if not is_plain else "text/html" if raw.startswith(b"<") else "text/plain"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(raw)))
            if retry_after is not None:
                self.send_header("Retry-After", str(retry_after))
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
