"""An index whose state is on its server: read without its folder, changed with it, and turned back."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import run_rubrika
from qdrant_client import models
from qdrant_http import QdrantOverHttp, serve
from rows import CASES, SHOES, row

from rubrika.api import Index
from rubrika.errors import RubrikaError
from rubrika.index.manifest import Manifest

SHELF = [row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(40)]
NEW = [row(100, "кеды беговые"), row(101, "чехол тонкий"), row(102, "кеды 7")]


@pytest.fixture
def server() -> Iterator[QdrantOverHttp]:
    with serve() as running:
        yield running


@pytest.fixture
def published(index_of: Callable[..., Path], server: QdrantOverHttp) -> Path:
    folder = index_of(SHELF)
    for command in (("push", "--url", server.url), ("publish",)):
        done = run_rubrika(*command, "--index", folder)
        assert done.code == 0, done.err
    return folder


def state(server: QdrantOverHttp) -> list[str]:
    return sorted(each.name for each in server.client.get_collections().collections)


def category_of(title: str, server: QdrantOverHttp, cache: Path) -> str:
    with Index.open(url=server.url, collection="products", cache=cache) as index:
        return index.explain(title=title).predicted.category_path


def test_another_machine_classifies_the_same_bytes_without_the_folder(
    published: Path, server: QdrantOverHttp, write: Callable[..., Path], tmp_path: Path
) -> None:
    file, here, there = write(NEW, "new.parquet"), tmp_path / "here.parquet", tmp_path / "elsewhere" / "there.parquet"
    details = ("--details", "details.parquet")
    assert run_rubrika("classify", file, "--index", published, "-o", here, cwd=tmp_path).code == 0
    (tmp_path / "elsewhere").mkdir()
    command = [
        "classify",
        file,
        "--url",
        server.url,
        "-o",
        there,
        *details,
        "--cache",
        tmp_path / "elsewhere" / "cache",
    ]
    published.rename(tmp_path / "gone")
    fresh = [sys.executable, "-m", "rubrika", *map(str, command)]
    done = subprocess.run(fresh, cwd=tmp_path / "elsewhere", capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert there.read_bytes() == here.read_bytes()
    assert not (tmp_path / "elsewhere" / "rubrika-index").exists()


def test_a_change_is_published_at_once_and_what_stays_is_not_sent_again(
    published: Path, server: QdrantOverHttp, write: Callable[..., Path], tmp_path: Path
) -> None:
    boots = (33, "Все категории->Обувь->Сапоги")
    before = category_of("сапоги зимние", server, tmp_path / "cache")
    file = write([row(200 + place, f"сапоги зимние {place}", boots) for place in range(5)], "boots.parquet")
    assert run_rubrika("ingest", file, "--index", published).code == 0
    assert (before, category_of("сапоги зимние", server, tmp_path / "cache")) == (SHOES[1], boots[1])
    again = run_rubrika("publish", "--index", published, "--json")
    assert again.json["bytes"] == 0
    # The encoder is in the cache once, though there were two versions of the index.
    largest = max((published / "encoders").rglob("*.safetensors"), key=lambda path: path.stat().st_size)
    kept = [path for path in (tmp_path / "cache" / "indexes" / "files").iterdir()]
    assert sum(path.stat().st_size == largest.stat().st_size for path in kept) == 1


def test_points_and_encoder_change_together_and_back(
    published: Path, server: QdrantOverHttp, write: Callable[..., Path], tmp_path: Path
) -> None:
    first, behind = Manifest.read(published), Manifest.read(published).behind
    reader = Index.open(url=server.url, cache=tmp_path / "cache")
    assert reader.opened().encoders.sizes
    assert run_rubrika("learn", "--index", published).code == 0
    second = Manifest.read(published)
    assert (second.previous, second.published) == (behind, True)
    # Who had it open goes on with the points of its encoder.
    assert reader.explain(title="кеды беговые").predicted.category_id == SHOES[0]
    with Index.open(url=server.url, cache=tmp_path / "cache") as fresh:
        assert fresh.opened().manifest.behind == second.behind
    back = run_rubrika("rollback", "--index", published, "--json")
    assert back.json == {"collection": behind, "before": second.behind, "products": 40}
    third = Manifest.read(published)
    assert (third.behind, third.vectors, third.previous) == (first.behind, first.vectors, second.behind)
    with Index.open(url=server.url, cache=tmp_path / "cache") as fresh:
        assert fresh.opened().manifest.behind == behind
    assert run_rubrika("check", "--index", published).code == 0
    assert run_rubrika("rollback", "--index", published).code == 0
    assert Manifest.read(published).behind == second.behind
    # The next encoder takes the place of the one that nobody goes back to.
    assert run_rubrika("learn", "--index", published).code == 0
    latest = Manifest.read(published)
    both = sorted(f"{name}{end}" for name in (second.behind, latest.behind) for end in ("", "-index"))
    assert state(server) == both


def test_names_that_are_added_are_published_too(published: Path, server: QdrantOverHttp, tmp_path: Path) -> None:
    (tmp_path / "more.csv").write_text("category_id,category_name\n77,Обувь->Тапки\n", encoding="utf-8")
    assert run_rubrika("categories", tmp_path / "more.csv", "--index", published).code == 0
    with Index.open(url=server.url, cache=tmp_path / "cache") as index:
        assert 77 in {each.category_id for each in index.categories().categories or ()}


def test_what_a_stopped_run_has_not_published_the_same_run_publishes(
    published: Path, server: QdrantOverHttp, tmp_path: Path
) -> None:
    server.client.delete_collection(f"{Manifest.read(published).behind}-index")
    shelf = published.parent / "products.parquet"
    done = [run_rubrika("ingest", shelf, "--index", published, "--json").json["unchanged"] for _ in range(2)]
    assert done == [40, 40]
    assert category_of("кеды беговые", server, tmp_path / "cache") == SHOES[1]


def test_an_index_that_cannot_be_published_goes_on_as_it_was(
    index_of: Callable[..., Path], write: Callable[..., Path]
) -> None:
    folder = index_of(SHELF)
    refused = run_rubrika("publish", "--index", folder)
    assert (refused.code, "bring them to a server with `rubrika push`" in refused.err) == (1, True)
    done = run_rubrika("ingest", write(NEW, "new.parquet"), "--index", folder, "--json")
    assert (done.code, done.json["added"]) == (0, 3)


def test_going_back_changes_nothing_until_all_has_come(published: Path, server: QdrantOverHttp, tmp_path: Path) -> None:
    before = Manifest.read(published).behind
    assert run_rubrika("learn", "--index", published).code == 0
    latest, names = (published / "index.json").read_bytes(), (published / "categories.json").read_bytes()
    [page, _] = server.client.scroll(f"{before}-index", limit=1_000)
    server.client.delete(f"{before}-index", [page[0].id])
    with pytest.raises(RubrikaError, match="is damaged there"):
        Index.open(published, cache=tmp_path / "empty").rollback()
    assert (published / "index.json").read_bytes() == latest
    assert (published / "categories.json").read_bytes() == names
    assert category_of("кеды беговые", server, tmp_path / "cache") == SHOES[1]


def test_a_reader_that_meets_a_publish_reads_again(
    published: Path, server: QdrantOverHttp, write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = str(Manifest.read(published).behind)
    earlier, answer = [server.info(behind)], server.answer
    boots = write([row(200 + place, f"сапоги {place}", (33, "Сапоги")) for place in range(5)], "boots.parquet")
    assert run_rubrika("ingest", boots, "--index", published).code == 0

    def answer_as_before(method: str, path: str, body: dict[str, object]) -> object:
        """The list of files as it was before the publish, whose chunks are no longer there when they are read."""
        is_list = (method, path) == ("GET", f"/collections/{behind}")
        return earlier.pop() if is_list and earlier else answer(method, path, body)

    monkeypatch.setattr(server, "answer", answer_as_before)
    with Index.open(url=server.url, cache=tmp_path / "cache") as index:
        assert index.categories().categories is not None
        assert index.opened().manifest.contents.products == 45
    assert not earlier


def test_what_cannot_be_done_is_said(
    published: Path, server: QdrantOverHttp, index_of: Callable[..., Path], tmp_path: Path
) -> None:
    def refusal(work: Callable[[], object]) -> str:
        with pytest.raises(RubrikaError) as caught:
            work()
        return str(caught.value)

    reader = Index.open(url=server.url, cache=tmp_path / "cache")
    assert "a copy of what its server has" in refusal(lambda: reader.delete([1]))
    assert "no collection is called «shoes»" in refusal(lambda: Index.open(url=server.url, collection="shoes"))
    assert "there is no earlier encoder to go back to" in refusal(Index.open(published).rollback)
    assert "an index without a folder is on a server" in refusal(Index.open)
    # Whoever writes to the server may have written anything.
    behind = str(Manifest.read(published).behind)
    [page, _] = server.client.scroll(f"{behind}-index", limit=100)
    server.client.upsert(f"{behind}-index", [models.PointStruct(id=page[0].id, vector={}, payload={"data": "ZZZZ"})])
    fetch = lambda: Index.open(url=server.url, cache=tmp_path / "other")  # noqa: E731
    assert "is damaged there; run `rubrika publish` again" in refusal(fetch)
    noted = json.loads(server.client.get_collection(behind).config.metadata["rubrika_index"])
    [first, *_] = noted["files"]["categories.json"]["chunks"]
    noted["files"]["categories.json"] |= {"sha256": "0" * 64, "size": 1, "chunks": [first] * 10_000}
    server.client.update_collection(behind, metadata={"rubrika_index": json.dumps(noted)})
    assert "categories.json is damaged there" in refusal(fetch)
    assert not list((tmp_path / "other" / "indexes" / "files").glob("*.*"))
    noted = json.loads(server.client.get_collection(behind).config.metadata["rubrika_index"])
    noted["files"]["../../outside"] = noted["files"].pop("index.json")
    server.client.update_collection(behind, metadata={"rubrika_index": json.dumps(noted)})
    assert "its list of files is damaged there" in refusal(fetch)
