"""On a server: the name that stays, what is left after an interruption, and options that were given."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from qdrant_http import QdrantOverHttp, serve
from rows import CASES, row

from rubrika.index.location import Location
from rubrika.index.manifest import Manifest
from rubrika.ingest.ingest import ingest
from rubrika.products.reader import Reader
from rubrika.store.connection import Connection, ServerOptions
from rubrika.store.server import ServerStore

Rubrika = Callable[..., Run]
SHELF = [row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(40)]
NUMBERED = r"products-{}-[0-9a-f]{{8}}"


@pytest.fixture
def server() -> Iterator[QdrantOverHttp]:
    with serve() as running:
        yield running


@pytest.fixture
def shelf(index_of: Callable[..., Path]) -> Path:
    return index_of(SHELF)


@pytest.fixture
def pushed(rubrika: Rubrika, shelf: Path, server: QdrantOverHttp) -> Path:
    done = rubrika("push", "--url", server.url, "--index", shelf)
    assert done.code == 0, done.err
    return shelf


def names(server: QdrantOverHttp) -> tuple[dict[str, str], list[str]]:
    """What each alias stands for, and the collections."""
    aliases = {each.alias_name: each.collection_name for each in server.client.get_aliases().aliases}
    return aliases, [each.name for each in server.client.get_collections().collections]


def told(run: Run) -> str:
    """A table as a text."""
    return re.sub(r"[│\s]+", " ", run.out)


def sizes(folder: Path) -> dict[str, int]:
    return Manifest.read(folder).sizes


@contextmanager
def refusing(server: QdrantOverHttp, method: str, ending: str) -> Iterator[None]:
    """Refuse requests of a kind until the block ends."""
    answer = server.answer

    def refuse(asked: str, path: str, body: dict[str, object]) -> object:
        if asked == method and re.search(ending, path):
            raise ValueError("no space left")
        return answer(asked, path, body)

    server.answer = refuse  # type: ignore[method-assign]
    yield
    server.answer = answer  # type: ignore[method-assign]


def test_a_product_that_another_process_deletes_meanwhile_is_left_out(
    rubrika: Rubrika, server: QdrantOverHttp, pushed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, deleted = server.answer, list[int]()

    def delete_one(method: str, path: str, body: dict[str, Any]) -> object:
        if (method, path[-7:]) == ("POST", "/points") and not deleted:
            deleted.append(body["ids"][0])
            server.client.delete(path.split("/")[2], deleted)
        return answer(method, path, body)

    monkeypatch.setattr(server, "answer", delete_one)
    learned = rubrika("learn", "--index", pushed, "--json")
    assert (learned.code, len(deleted)) == (0, 1), learned.err
    assert rubrika("info", "--index", pushed, "--json").json["products"] == 39
    assert rubrika("neighbours", str(deleted[0]), "--index", pushed).code == 1


def test_a_name_stays_through_learning(rubrika: Rubrika, server: QdrantOverHttp, pushed: Path) -> None:
    for generation in (1, 2, 3):
        if generation > 1:
            learned = rubrika("learn", "--index", pushed)
            assert (learned.code, "alias" in learned.err) == (0, False)
        aliases, collections = names(server)
        assert list(aliases) == ["products"]
        assert [aliases["products"]] == collections
        assert re.fullmatch(NUMBERED.format(generation), aliases["products"])
        shown = f"products, an alias of {aliases['products']}, on {server.url}"
        assert shown in told(rubrika("info", "--index", pushed))
        said = rubrika("info", "--index", pushed, "--json").json
        assert (said["collection"], said["behind"], said["products"]) == ("products", aliases["products"], 40)
    shown = rubrika("neighbours", "1", "--open", "--json", "--index", pushed).json
    assert shown["open"].startswith(f"{server.url}/dashboard#/collections/products ")
    named = ("--url", server.url, "--collection", "products")
    assert rubrika("delete", "1", "--index", pushed, *named).code == 0
    assert rubrika("check", "--index", pushed, *named).code == 0


def test_a_new_index_goes_by_the_name_from_its_first_product_on(
    rubrika: Rubrika, server: QdrantOverHttp, write: Callable[..., Path], tmp_path: Path
) -> None:
    arguments = ("ingest", write(SHELF), "--index", tmp_path / "index", "--url", server.url, "--collection", "shoes")
    layout = ("--graph-links", "24", "--shards", "3", "--quantisation", "turbo", "--search-effort", "700")
    done = rubrika(*arguments, *layout)
    assert done.code == 0, done.err
    aliases, collections = names(server)
    assert [aliases["shoes"]] == collections
    created = server.created[aliases["shoes"]]
    assert (created["hnsw_config"]["m"], created["shard_number"]) == (24, 3)
    assert "turbo" in created["quantization_config"]
    recall = rubrika("info", "--index", tmp_path / "index", "--json").json["recall"]
    assert (recall["text"]["search_effort"], recall["text"]["reached"]) == (700, 1)
    again = rubrika(*arguments, "--shards", "6", "--json")
    assert "laid out already and stays so (`shards` 3)" in again.err.replace("--shards", "`shards`")
    # What learning makes anew is laid out as it was.
    assert rubrika("learn", "--index", tmp_path / "index").code == 0
    created = server.created[names(server)[0]["shoes"]]
    assert (created["hnsw_config"]["m"], created["shard_number"]) == (24, 3)


def test_a_collection_by_that_very_name_is_taken_over_once(
    rubrika: Rubrika, server: QdrantOverHttp, shelf: Path
) -> None:
    # As an administrator makes it, or an earlier version made it.
    ServerStore(Connection(server.url, "products"), sizes(shelf), create=ServerOptions()).close()
    assert rubrika("push", "--url", server.url, "--index", shelf).code == 0
    assert names(server) == ({}, ["products"])
    first, second = rubrika("learn", "--index", shelf), rubrika("learn", "--index", shelf)
    assert "«products» was a collection, and is an alias of products-2-" in first.err
    assert (first.code, second.code, "alias" in second.err) == (0, 0, False)
    aliases, collections = names(server)
    assert [aliases["products"]] == collections
    assert rubrika("check", "--index", shelf).code == 0


def test_the_number_that_an_earlier_version_left_in_a_name_is_dropped(
    rubrika: Rubrika, server: QdrantOverHttp, shelf: Path
) -> None:
    old = Connection(server.url, "products-2-20be88cb")
    ServerStore(old, sizes(shelf), create=ServerOptions()).close()
    assert rubrika("push", "--url", server.url, "--collection", old.collection, "--index", shelf).code == 0
    assert rubrika("learn", "--index", shelf).code == 0
    aliases, collections = names(server)
    assert [aliases["products"]] == collections


def test_an_index_that_goes_by_an_alias_is_learned_again(rubrika: Rubrika, server: QdrantOverHttp, shelf: Path) -> None:
    push = ("push", "--url", server.url, "--collection", "products_v1", "--alias", "products", "--index", shelf)
    assert rubrika(*push).code == 0
    assert names(server) == ({"products": "products_v1"}, ["products_v1"])
    assert rubrika("learn", "--index", shelf).code == 0
    aliases, collections = names(server)
    assert re.fullmatch(NUMBERED.format(2), aliases["products"])
    assert [aliases["products"]] == collections
    assert rubrika("check", "--index", shelf).code == 0


def test_a_name_that_another_index_has_taken_meanwhile_stays_with_that(
    rubrika: Rubrika, server: QdrantOverHttp, pushed: Path
) -> None:
    other = Connection(server.url, "other")
    ServerStore(other, sizes(pushed), create=ServerOptions()).switch("products")
    learned = rubrika("learn", "--index", pushed)
    assert (learned.code, "«products» names other by now" in learned.err) == (0, True)
    assert names(server)[0] == {"products": "other"}
    assert rubrika("check", "--index", pushed).code == 0


@pytest.mark.parametrize("next_command", [("check",), ("delete", "1"), ("learn",)], ids=lambda command: command[0])
def test_what_an_interrupted_learn_left_on_the_server_is_removed(
    rubrika: Rubrika, server: QdrantOverHttp, pushed: Path, next_command: tuple[str, ...]
) -> None:
    before = names(server)
    with refusing(server, "PUT", r"-2-[0-9a-f]{8}/points$"):
        failed = rubrika("learn", "--index", pushed)
    assert (failed.code, "no space left" in failed.err) == (1, True)
    assert (names(server)[0], len(names(server)[1])) == (before[0], 2)
    done = rubrika(*next_command, "--index", pushed)
    assert done.code == 0, done.out + done.err
    assert len(names(server)[1]) == 1
    assert "unfinished" not in told(rubrika("info", "--index", pushed))


def test_a_name_that_was_not_switched_is_switched_by_the_next_command(
    rubrika: Rubrika, server: QdrantOverHttp, pushed: Path
) -> None:
    with refusing(server, "POST", "/collections/aliases$"):
        failed = rubrika("learn", "--index", pushed)
    assert failed.code == 1
    # The index itself is the new one already, whatever its name stands for.
    assert len(names(server)[1]) == 2
    assert rubrika("neighbours", "1", "--index", pushed).code == 0
    assert rubrika("check", "--index", pushed).code == 0
    aliases, collections = names(server)
    assert [aliases["products"]] == collections
    assert re.fullmatch(NUMBERED.format(2), aliases["products"])


def test_a_push_that_failed_goes_on_in_the_collection_that_it_began(
    rubrika: Rubrika, server: QdrantOverHttp, shelf: Path
) -> None:
    push = ("push", "--url", server.url, "--index", shelf, "--json")
    with refusing(server, "PUT", "/points$"):
        assert rubrika(*push).code == 1
    begun = names(server)[1]
    assert rubrika(*push).json["total"] == 40
    assert names(server) == ({"products": begun[0]}, begun)


class Stages:
    """Progress that remembers what was done."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def note(self, text: str) -> None: ...

    def stage(self, title: str, total: int) -> "Stages":
        self.titles.append(title)
        return self

    def __enter__(self) -> Callable[[int], None]:
        return lambda steps: None

    def __exit__(self, *_: object) -> None: ...


def test_what_was_learned_survives_a_collection_that_could_not_be_made(
    server: QdrantOverHttp, write: Callable[..., Path], tmp_path: Path
) -> None:
    file, at = write(SHELF), Location(tmp_path / "index", Connection(server.url, "products"))
    first, second = Stages(), Stages()
    with refusing(server, "PUT", r"/products-1-[0-9a-f]{8}$"), pytest.raises(Exception, match="no space left"):
        ingest(at, Reader([file], labelled=True), progress=first)
    report = ingest(at, Reader([file], labelled=True), progress=second)
    assert any("learning" in title for title in first.titles)
    assert not any("learning" in title for title in second.titles)
    assert report.added == 40
    assert not (tmp_path / "index" / "encoders" / "learned.json").exists()


def test_other_files_are_learned_from_anew(server: QdrantOverHttp, write: Callable[..., Path], tmp_path: Path) -> None:
    at, stages = Location(tmp_path / "index", Connection(server.url, "products")), Stages()
    with refusing(server, "PUT", r"/products-1-[0-9a-f]{8}$"), pytest.raises(Exception, match="no space left"):
        ingest(at, Reader([write(SHELF)], labelled=True))
    ingest(at, Reader([write(SHELF[1:])], labelled=True), progress=stages)
    assert any("learning" in title for title in stages.titles)


def test_a_command_that_was_refused_leaves_no_mark(rubrika: Rubrika, shelf: Path, write: Callable[..., Path]) -> None:
    with serve(api_key="whole-key", read_only_key="read-only-key") as server:
        assert rubrika("push", "--url", server.url, "--index", shelf, QDRANT_API_KEY="whole-key").code == 0
        before = (shelf / "index.json").read_bytes()
        more = write([row(77, "кеды")], "more.parquet")
        for command in (("delete", "1"), ("ingest", more), ("relabel", "1", CASES[0])):
            refused = rubrika(*command, "--index", shelf, QDRANT_API_KEY="read-only-key")
            assert (refused.code, "this API key may not do that" in refused.err) == (1, True), refused.err
            assert (shelf / "index.json").read_bytes() == before
        assert rubrika("check", "--index", shelf, QDRANT_API_KEY="read-only-key").code == 0


def test_an_option_that_is_given_is_not_one_left_out(rubrika: Rubrika, server: QdrantOverHttp, pushed: Path) -> None:
    push = ("push", "--url", server.url, "--index", pushed)
    searched = list[tuple[object, object]]()
    for given in ("--oversampling=8", "--search-effort=64", "--oversampling=32"):
        assert rubrika(*push, given).code == 0
        search = json.loads((pushed / "index.json").read_text())["search"]
        searched.append((search["oversampling"], search["search_effort"]))
    assert searched == [(8, None), (8, 64), (32, 64)]


def test_a_graph_is_made_for_an_index_that_is_there_without_copying(
    rubrika: Rubrika, server: QdrantOverHttp, pushed: Path
) -> None:
    behind = names(server)[0]["products"]
    assert server.layouts[behind]["hnsw_config"]["m"] == 0
    again = rubrika("push", "--url", server.url, "--index", pushed, "--graph-links", "24", "--json")
    assert (again.json["copied"], server.layouts[behind]["hnsw_config"]["m"]) == (0, 24)
    assert "a graph with search effort 1,024" in told(rubrika("info", "--index", pushed))


def test_layouts_are_of_servers(rubrika: Rubrika, shelf: Path, write: Callable[..., Path]) -> None:
    refused = rubrika("ingest", write(SHELF, "again.parquet"), "--index", shelf, "--shards", "3")
    assert (refused.code, "give its --url" in refused.err) == (2, True)


def test_an_exact_search_is_asked_for(
    rubrika: Rubrika, server: QdrantOverHttp, pushed: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    file, result = write(SHELF, "new.parquet"), tmp_path / "result.parquet"
    commands = (
        ("classify", file, "-o", result),
        ("neighbours", "--title", "кеды"),
        ("evaluate", file),
    )
    for command in commands:
        for exact, flag in ((True, ["--exact"]), (False, [])):
            server.searches.clear()
            done = rubrika(*command, "--index", pushed, *flag)
            assert done.code == 0, done.err
            assert {search["params"].get("exact", False) for search in server.searches} == {exact}
    server.strict = {"search_allow_exact": False}
    refused = rubrika("neighbours", "--title", "кеды", "--exact", "--index", pushed)
    assert (refused.code, "allows no exact search there; leave --exact out" in refused.err) == (1, True)
    assert rubrika("evaluate", file, "--exact").code == 2


def test_products_of_another_folder_in_the_collection_are_no_fault(
    rubrika: Rubrika, server: QdrantOverHttp, pushed: Path, write: Callable[..., Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for file in ("index.json", "categories.json"):
        (other / file).write_bytes((pushed / file).read_bytes())
    (other / "encoders").symlink_to(pushed / "encoders")
    more = write([row(77, "кеды 77"), row(78, "чехол 78", CASES)], "more.parquet")
    assert rubrika("ingest", more, "--index", other).code == 0
    checked = rubrika("check", "--index", pushed, "--json")
    assert (checked.code, checked.json["problems"], checked.json["others"]) == (0, {}, 2)
    assert "2 more than this folder put there" in rubrika("check", "--index", pushed).out
    assert rubrika("delete", *map(str, range(10)), "--index", other).code == 0
    assert rubrika("check", "--index", pushed).code == 1
