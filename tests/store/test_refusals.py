"""What a real server refuses: what a person reads of it, how the command ends, and that a second run completes."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from conftest import Run
from qdrant_client import models
from qdrant_grpc import serve_grpc
from qdrant_http import serve
from qdrant_rules import Rules
from rows import row

from rubrika.index.manifest import Manifest
from rubrika.store.faults import RetryPolicy

Rubrika = Callable[..., Run]
KEY, READ, TOKEN, READ_TOKEN = "admin-key", "read-only-key", "token-for-shelf", "token-to-look-at-shelf"
KINDS = ["кеды", "чехол", "кабель", "крем", "носки", "чайник", "лампа", "ваза", "ковёр", "мяч", "шапка", "пенал"]
SHELF = [
    row(10 * kind + each, f"{name} {each}", (kind, f"Всё->{name}"))
    for kind, name in enumerate(KINDS)
    for each in range(8)
]
NEW = [row(1_000 + kind, f"{name} новый") for kind, name in enumerate(KINDS)]


@dataclass
class Place:
    """A stand-in, and how a command is told of it."""

    rubrika: Rubrika
    server: Rules
    url: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def run(self, *command: object, key: str = KEY, **more: str) -> Run:
        return self.rubrika(*command, **{"QDRANT_API_KEY": key, "QDRANT_URL": self.url, **self.environment, **more})

    def refused(self, *command: object, **more: str) -> str:
        """The one sentence that a command ends with."""
        done = self.run(*command, **more)
        assert (done.code, done.out) == (1, ""), done.err
        said = [line for line in done.err.splitlines() if line.startswith("rubrika: ")]
        assert len(said) == 1
        assert "Traceback" not in done.err
        return said[0]

    def done(self, *command: object, **more: str) -> Run:
        done = self.run(*command, **more)
        assert done.code == 0, done.err
        return done

    def count(self, name: str = "shelf") -> int:
        return self.server.client.count(name).count


@pytest.fixture(params=["http", "grpc"])
def place(request: pytest.FixtureRequest, rubrika: Rubrika, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # What passes is tried again, for no longer than a test wants to wait.
    monkeypatch.setattr(
        "rubrika.store.server.RetryPolicy", lambda **given: RetryPolicy(**({"first_wait": 0.01} | given))
    )
    if request.param == "http":
        with serve(KEY, READ) as server:
            yield Place(rubrika, server, server.url)
    else:
        with serve_grpc(KEY, READ) as (server, port):
            # Nothing answers over HTTP: what works went over gRPC.
            yield Place(rubrika, server, "http://127.0.0.1:1", {"QDRANT_GRPC_PORT": str(port)})


@pytest.fixture
def index(index_of: Callable[..., Path]) -> Path:
    return index_of(SHELF)


@pytest.fixture
def new(write: Callable[..., Path]) -> Path:
    return write(NEW, "new.parquet")


def push(index: Path) -> tuple[object, ...]:
    return "push", "--collection", "shelf", "--index", index


def test_no_such_collection(place: Place, index: Path) -> None:
    assert "no collection «none» here; make it with" in place.refused("info", "--collection", "none", "--index", index)


def test_a_wrong_key(place: Place, index: Path) -> None:
    said = place.refused(*push(index), key="wrong")
    assert said.endswith(
        "the server refuses this API key (Invalid API key or JWT); set QDRANT_API_KEY to one that it knows"
    )
    assert place.done(*push(index)).code == 0
    assert place.count() == len(SHELF)


def test_a_read_only_key_reads_and_does_not_write(place: Place, index: Path) -> None:
    forbidden = "Forbidden: Global manage access is required"
    assert f"this API key may not make it ({forbidden})" in place.refused(*push(index), key=READ)
    place.done(*push(index))
    place.done("neighbours", "11", "--index", index, key=READ)
    said = place.refused("delete", "1", "--index", index, key=READ)
    assert said.endswith(f"this API key may not do that ({forbidden}); set QDRANT_API_KEY to one that may")
    assert place.done("delete", "1", "--index", index, "--json").json["deleted"] == 1


def reads(place: Place, index: Path, new: Path, tmp_path: Path, key: str) -> None:
    """All that reads works, with such a key."""
    at = ("--index", index)
    place.done("classify", new, "-o", tmp_path / "result.parquet", *at, key=key)
    assert pd.read_parquet(tmp_path / "result.parquet")["predicted_category_id"].nunique() > 6
    place.done("neighbours", "11", *at, key=key)
    place.done("explain", "--title", "кеды", *at, key=key)
    place.done("evaluate", index.with_name("products.parquet"), *at, key=key)
    place.done("info", *at, key=key)
    checked = place.done("check", *at, "--json", key=key).json
    assert checked["products"] == len(SHELF)
    assert found(checked, "key").startswith("may only read (Forbidden: ")


def found(checked: dict, name: str) -> str:
    return next(each["value"] for each in checked["server"]["findings"] if each["name"] == name)


def test_a_token_for_one_collection_does_all_but_make_collections(
    place: Place, index: Path, new: Path, tmp_path: Path, write: Callable[..., Path]
) -> None:
    place.server.tokens = {TOKEN: ("shelf", "rw"), READ_TOKEN: ("shelf", "r")}
    forbidden, more = "Forbidden: Global access is required", {"key": TOKEN}
    said = place.refused(*push(index), **more)
    assert f"this API key may not make it ({forbidden}); have an empty one made with «text»" in said
    assert "Access to collection other is required" in place.refused(
        "push", "--collection", "other", "--index", index, **more
    )
    administrator_makes(place, index)
    said = place.refused(*push(index), **more)
    assert f"and this API key may not do so ({forbidden}); give --adopt if it was made for this index" in said
    pushed = place.done(*push(index), "--adopt", "--json", **more)
    assert pushed.json["copied"] == len(SHELF)
    assert pushed.err.count(f"this API key may not change a collection ({forbidden})") == 1
    assert place.count() == len(SHELF)
    # From now on it is known as ours, by its payload indexes.
    place.done("ingest", write([*SHELF, *NEW[:1]], "more.parquet"), "--index", index, **more)
    place.done("relabel", "11", "1", "--index", index, **more)
    place.done("delete", str(NEW[0]["product_id"]), "--index", index, **more)
    assert found(place.done("check", "--index", index, "--json", **more).json, "key").startswith(
        "may write in this collection"
    )
    said = place.refused(*push(index), "--alias", "products", **more)
    assert "Forbidden: Access to collection products is required" in said
    reads(place, index, new, tmp_path, READ_TOKEN)
    place.done("audit", "-o", tmp_path / "audit.parquet", "--index", index, key=READ_TOKEN)
    said = place.refused("delete", "1", "--index", index, key=READ_TOKEN)
    assert "Forbidden: Write access to collection shelf is required" in said


def administrator_makes(place: Place, index: Path) -> None:
    """Make an empty collection of the right vectors, that says of nobody that it is theirs."""
    sizes = Manifest.read(index).sizes
    vectors = {name: models.VectorParams(size=size, distance="Dot") for name, size in sizes.items()}
    place.server.client.create_collection("shelf", vectors)


def test_a_new_index_goes_into_a_collection_that_an_administrator_made(
    place: Place, index: Path, tmp_path: Path
) -> None:
    place.server.tokens = {TOKEN: ("shelf", "rw")}
    products, to = index.with_name("products.parquet"), ("--index", tmp_path / "fresh", "--collection", "shelf")
    # Known before anything is learned.
    said = place.refused("ingest", products, *to, key=TOKEN)
    assert "this API key may not make collections (Forbidden: Global access is required)" in said
    assert not (tmp_path / "fresh").exists()
    administrator_makes(place, index)
    assert place.done("ingest", products, *to, "--adopt", "--json", key=TOKEN).json["added"] == len(SHELF)
    assert place.done("ingest", products, *to, "--json", key=TOKEN).json["unchanged"] == len(SHELF)


STRICT = {
    "max_query_limit": 40,
    "upsert_max_batchsize": 10,
    "search_max_batchsize": 5,
    "search_max_oversampling": 4.0,
    "search_max_hnsw_ef": 64,
}


def test_limits_that_are_stated_are_kept(place: Place, index: Path, new: Path, tmp_path: Path) -> None:
    rows = index.with_name("products.parquet")
    before = place.done("info", "--index", index, "--json", QDRANT_URL="").json
    place.server.strict = STRICT
    place.done(*push(index), "--graph-links", "16", "--search-effort", "128")
    after = place.done("info", "--index", index, "--json").json
    assert after["categories"] == before["categories"] == len(KINDS)
    place.done("classify", new, "-o", tmp_path / "result.parquet", "--index", index)
    assert place.done("ingest", rows, "--index", index, "--json").json["unchanged"] == len(SHELF)
    assert found(place.done("check", "--index", index, "--json").json, "limits").startswith("max_query_limit 40")


def test_categories_beyond_the_limit_of_a_facet_are_counted_all_the_same(place: Place, index: Path) -> None:
    place.done(*push(index))
    for limit in (len(KINDS), len(KINDS) + 1):
        place.server.strict = {"max_query_limit": limit}
        assert place.done("info", "--index", index, "--json").json["categories"] == len(KINDS)


def test_without_exact_search_a_graph_is_asked_for(place: Place, index: Path, new: Path, tmp_path: Path) -> None:
    place.server.strict = {"search_allow_exact": False}
    said = place.refused(*push(index))
    assert "the server's limits forbid exact search, so products cannot be found without a graph" in said
    assert "give --graph-links, as 16, for a new collection" in said
    place.done(*push(index), "--graph-links", "16")
    place.done("classify", new, "-o", tmp_path / "result.parquet", "--index", index)
    shown = place.done("info", "--index", index, COLUMNS="200")
    assert "not measured: the server allows no exact search" in shown.out
    assert str(len(SHELF)) in shown.out


def test_a_collection_that_lost_its_exact_search_is_told_of(
    place: Place, index: Path, new: Path, tmp_path: Path
) -> None:
    place.done(*push(index))
    place.server.strict = {"search_allow_exact": False}
    said = place.refused("classify", new, "-o", tmp_path / "result.parquet", "--index", index)
    assert "Request is forbidden on 'text' because global vector indexing is disabled (hnsw_config.m = 0)" in said
    checked = place.run("check", "--index", index)
    assert (checked.code, "it has no graph, so no search works" in checked.out) == (1, True)
    place.server.strict = {}
    place.done("classify", new, "-o", tmp_path / "result.parquet", "--index", index)


def test_a_rate_limit_is_waited_for(place: Place, index: Path) -> None:
    # A rate for two seconds, not for a minute.
    place.server.strict, place.server.minute = {"write_rate_limit": 60}, 1.5
    started = time.monotonic()
    # No request takes more than the whole rate: that is found out, and kept to.
    pushed = place.done(*push(index), "--json")
    assert pushed.json["copied"] == len(SHELF)
    assert time.monotonic() - started > 1
    assert place.count() == len(SHELF)


def test_a_rate_that_needs_too_long_a_wait_is_said(place: Place, index: Path) -> None:
    place.server.strict, place.server.minute = {"write_rate_limit": 64}, 100_000.0
    said = place.refused(*push(index))
    assert "its rate limit is used up for" in said
    assert "Rate limiting exceeded: Write rate limit exceeded: Operation requires" in said
    place.server.strict = {}
    assert place.done(*push(index), "--json").json["total"] == len(SHELF)


def test_a_request_larger_than_a_proxy_takes_goes_in_smaller_ones(place: Place, index: Path) -> None:
    place.server.body_limit = 30_000
    place.done(*push(index))
    assert place.count() == len(SHELF)
    place.server.body_limit = 8
    assert "one product is more than a request may hold" in place.refused(
        "delete", *map(str, range(90)), "--index", index
    )
    place.server.body_limit = None
    assert place.done("delete", *map(str, range(90)), "--index", index, "--json").json["deleted"] == 72


def test_too_few_copies_are_tried_again_and_then_said(place: Place, index: Path) -> None:
    place.server.short = 3
    place.done(*push(index))
    place.server.short = 10**6
    said = place.refused("delete", "1", "--index", index)
    assert (
        "too few copies could be written (Service internal error: 4 out of 6 shards failed to apply operation" in said
    )
    assert "see to its nodes" in said
    place.server.short = 0
    place.done("delete", "1", "--index", index)
    assert place.count() == len(SHELF) - 1


def test_a_disk_that_is_full_while_optimising_is_said(place: Place, index: Path, tmp_path: Path) -> None:
    place.server.full = True
    said = place.refused(*push(index))
    reason = (
        "Service runtime error: Not enough space available for optimization, needed: 187.48 MiB, available: 72.07 MiB"
    )
    assert f"the server failed to optimise it ({reason}); its points are kept" in said
    # The name is its alias once all is well.
    [made] = place.server.client.get_collections().collections
    assert place.count(made.name) == len(SHELF)
    checked = place.run("check", "--collection", made.name, "--index", tmp_path / "nowhere")
    assert (checked.code, "red" in checked.out) == (1, True)
    fresh = ("ingest", index.with_name("products.parquet"), "--index", tmp_path / "fresh", "--collection", made.name)
    assert f"it is red ({reason})" in place.refused(*fresh)
    place.server.full = False
    assert place.done(*push(index), "--json").json == {"copied": 0, "skipped": len(SHELF), "total": len(SHELF)}
