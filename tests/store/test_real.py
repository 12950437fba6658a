"""The whole chain on a real Qdrant server, the one at QDRANT_URL: `make test-server` runs this, and what else is real.

Collections have names that nobody has, and are deleted in the end. A token for one collection is tried where
QDRANT_JWT_KEY is the key that the server signs with, and the nodes of a cluster where QDRANT_URLS names them.
"""

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pandas as pd
import pytest
from conftest import Run
from qdrant_client import QdrantClient, models
from rows import CASES, row

from rubrika.index.manifest import Manifest
from rubrika.store.client import connect
from rubrika.store.connection import Connection, Transport

SHELF = [row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(60)]
pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif("QDRANT_URL" not in os.environ, reason="no server: QDRANT_URL is not set"),
]


@dataclass
class Server:
    """A real server, and how a command is told of it."""

    rubrika: Callable[..., Run]
    name: str
    client: QdrantClient

    def run(self, *command: object, **more: str) -> Run:
        known = {name: value for name, value in os.environ.items() if name.startswith("QDRANT_")}
        return self.rubrika(*command, **(known | more))

    def done(self, *command: object, **more: str) -> Run:
        done = self.run(*command, **more)
        assert done.code == 0, done.err
        return done


@pytest.fixture
def server(rubrika: Callable[..., Run]) -> Iterator[Server]:
    name, key = f"rubrika-test-{uuid4().hex}", os.environ.get("QDRANT_API_KEY")
    client = connect(Connection(os.environ["QDRANT_URL"], name, key, transport=Transport.of(os.environ)))
    yield Server(rubrika, name, client)
    for each in client.get_collections().collections:
        if each.name.startswith(name):
            client.delete_collection(each.name)
    client.close()


@pytest.fixture
def index(index_of: Callable[..., Path]) -> Path:
    return index_of(SHELF)


def classified(server: Server, index: Path, output: Path) -> bytes:
    server.done("classify", index.with_name("products.parquet"), "--index", index, "-o", output)
    return output.read_bytes()


def test_an_index_goes_there_is_changed_there_and_comes_back(
    server: Server, index: Path, tmp_path: Path, rubrika: Callable[..., Run], write: Callable[..., Path]
) -> None:
    asked, at = index.with_name("products.parquet"), ("--index", index)
    assert rubrika("classify", asked, *at, "-o", tmp_path / "folder.parquet").code == 0
    pushed = server.done("push", "--collection", server.name, *at, "--json").json
    assert (pushed["copied"], pushed["total"]) == (60, 60)
    assert classified(server, index, tmp_path / "server.parquet") == (tmp_path / "folder.parquet").read_bytes()
    server.done("relabel", "1", "22", *at)
    assert server.done("delete", "0", *at, "--json").json["deleted"] == 1
    again = server.done("ingest", write([*SHELF, row(100, "сапоги")], "more.parquet"), *at, "--json").json
    assert (again["added"], again["kept"]) == (2, 1)
    server.done("push", "--collection", f"{server.name}-2", "--alias", f"{server.name}-now", *at)
    assert server.done("info", *at, "--json").json["products"] == 61
    assert server.done("evaluate", asked, *at, "--json").json["rows"] == 60
    checked = server.done("check", *at, "--json").json
    assert checked["problems"] == {}
    assert {each["name"] for each in checked["server"]["findings"]} >= {
        "version",
        "transport",
        "key",
        "limits",
        "state",
    }
    server.done("pull", *at)
    assert rubrika("check", *at).code == 0


def test_evaluating_leaves_nothing_there(server: Server, index: Path) -> None:
    server.done("evaluate", index.with_name("products.parquet"), "--collection", server.name, "--json")
    assert not [each for each in server.client.get_collections().collections if each.name.startswith(server.name)]


def test_its_limits_are_kept(server: Server, index: Path, tmp_path: Path) -> None:
    at = ("--index", index)
    server.done("push", "--collection", server.name, "--graph-links", "16", *at)
    limits = models.StrictModeConfig(
        **{"enabled": True, "max_query_limit": 40, "upsert_max_batchsize": 10, "search_max_batchsize": 5},
        search_max_oversampling=4.0,
        search_allow_exact=False,
    )
    server.client.update_collection(server.name, strict_mode_config=limits)
    before = classified(server, index, tmp_path / "limited.parquet")
    assert pd.read_parquet(tmp_path / "limited.parquet")["predicted_category_id"].nunique() == 2
    assert server.done("info", *at, "--json").json["categories"] == 2
    assert server.done("ingest", index.with_name("products.parquet"), *at, "--json").json["unchanged"] == 60
    assert classified(server, index, tmp_path / "again.parquet") == before


@pytest.mark.skipif("QDRANT_URLS" not in os.environ, reason="no cluster: QDRANT_URLS does not name its nodes")
def test_every_node_of_a_cluster_gives_the_same_bytes(server: Server, index: Path, tmp_path: Path) -> None:
    server.done("push", "--collection", server.name, "--shards", "3", "--replicas", "2", "--index", index)
    answers = set[bytes]()
    for url in os.environ["QDRANT_URLS"].split(","):
        at = ("--index", index, "--url", url, "--collection", server.name)
        server.done("classify", index.with_name("products.parquet"), *at, "-o", tmp_path / "result.parquet")
        answers.add((tmp_path / "result.parquet").read_bytes())
    assert len(answers) == 1


@pytest.mark.skipif("QDRANT_API_KEY" not in os.environ, reason="the server wants no key")
def test_a_wrong_key_is_said(server: Server, index: Path) -> None:
    done = server.run("push", "--collection", server.name, "--index", index, QDRANT_API_KEY="wrong")
    assert (done.code, "the server refuses this API key" in done.err) == (1, True)


@pytest.mark.skipif("QDRANT_JWT_KEY" not in os.environ, reason="no QDRANT_JWT_KEY to sign a token with")
def test_a_token_for_one_collection_is_enough(server: Server, index: Path, tmp_path: Path) -> None:
    sizes = Manifest.read(index).sizes
    vectors = {name: models.VectorParams(size=size, distance=models.Distance.DOT) for name, size in sizes.items()}
    server.client.create_collection(server.name, vectors)
    key = {"QDRANT_API_KEY": token({"access": [{"collection": server.name, "access": "rw"}]})}
    push = ("push", "--collection", server.name, "--index", index)
    assert "--adopt" in server.run(*push, **key).err
    assert server.done(*push, "--adopt", "--json", **key).json["copied"] == 60
    reading = {"QDRANT_API_KEY": token({"access": [{"collection": server.name, "access": "r"}]})}
    server.done("info", "--index", index, **reading)
    assert server.run("delete", "1", "--index", index, **reading).code == 1
    assert server.done("delete", "1", "--index", index, "--json", **key).json["deleted"] == 1


def token(claims: dict[str, object]) -> str:
    """A JSON web token, signed as Qdrant reads it."""
    parts = [json.dumps(each).encode() for each in ({"alg": "HS256", "typ": "JWT"}, claims)]
    said = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signed = hmac.digest(os.environ["QDRANT_JWT_KEY"].encode(), said, hashlib.sha256)
    return f"{said.decode()}.{base64.urlsafe_b64encode(signed).rstrip(b'=').decode()}"
