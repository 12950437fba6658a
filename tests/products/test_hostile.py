"""What is made to do harm: files that unpack a thousandfold, indexes that lead elsewhere, links and pipes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import qdrant_edge as edge
from click.testing import Result
from conftest import copied
from rows import CASES, row
from typer.testing import CliRunner

from rubrika.cli import app
from rubrika.encode.learned import LearnedConfig, read_config
from rubrika.errors import EncoderError, IndexFolderError, InputError, StoreError
from rubrika.files import table_file
from rubrika.index.folder import writing
from rubrika.index.location import edge_folder
from rubrika.index.manifest import MAX_BYTES, TEXT, Manifest, VectorSpec
from rubrika.products.reader import Reader
from rubrika.products.table import read_ids
from rubrika.store.base import Payload
from rubrika.store.edge import EdgeStore

Raw = dict[str, Any]
WRITTEN = Manifest({TEXT: VectorSpec("learned", 128, "0" * 64)})
EDGE_OF_THE_WORLD = "../../../../usr"


def bomb(path: Path, rows: int, ballast: int = 0) -> Path:
    """Cells of 30 MB in a file of a few kilobytes, and so many of noise a row."""
    cell = '{"title": "кот", "description": "' + "а" * 15_000_000 + '"}'
    schema = pa.schema([("product_id", pa.int64()), ("text_fields", pa.string()), ("shop_title", pa.binary())])
    columns = [range(rows), [cell] * rows, [os.urandom(ballast) for _ in range(rows)]]
    # A page a cell: what is not asked for need not be unpacked.
    pages = {"data_page_size": 1, "write_batch_size": 1}
    pq.write_table(pa.table(columns, schema=schema), path, compression="zstd", use_dictionary=False, **pages)
    return path


def test_a_file_that_unpacks_a_thousandfold_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    file = bomb(tmp_path / "bomb.parquet", rows=4)
    assert file.stat().st_size < 50_000
    with pytest.raises(InputError, match=r"damaged: it promises 120,\d{3},\d{3} bytes in"):
        Reader([file], labelled=False).check()


def test_heavy_rows_are_decoded_one_by_one(tmp_path: Path) -> None:
    file = bomb(tmp_path / "heavy.parquet", rows=4, ballast=40_000)
    before = pa.total_allocated_bytes()
    reader = Reader([file], labelled=False)
    for _ in reader.rows(reader.layout(file)):
        assert pa.total_allocated_bytes() - before < 100_000_000


def test_ids_are_read_from_what_can_hold_them_alone(tmp_path: Path) -> None:
    file = tmp_path / "ids.parquet"
    pq.write_table(pa.table({"product_id": [3, None, 1, 3]}), file)
    assert read_ids(file) == [3, 1]
    pq.write_table(pa.table({"product_id": pa.nulls(3_000_000, pa.int64())}), file)
    with pytest.raises(InputError, match="it promises 3,000,000 rows"):
        read_ids(file)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a file"):
        read_ids(tmp_path / "pipe")


def _path(*place: str, value: object) -> Callable[[Raw], None]:
    def change(raw: Raw) -> None:
        for key in place[:-1]:
            raw = raw[key]
        raw[place[-1]] = value

    return change


CHANGES = {
    "a vector that leads elsewhere": _path("vectors", EDGE_OF_THE_WORLD, value=vars(WRITTEN.vectors[TEXT])),
    "no text vector": _path("vectors", value={}),
    "a width in words": _path("vectors", TEXT, "size", value="128"),
    "a width that no memory holds": _path("vectors", TEXT, "size", value=10**12),
    "an encoder that is a number": _path("vectors", TEXT, "encoder", value=5),
    "votes of a vector that is not there": _path("vote", "weights", value={"image": 1.0}),
    "nobody votes": _path("vote", "weights", value={}),
    "more votes than memory": _path("vote", "top_k", value=10**9),
    "a temperature that is no number": _path("vote", "temperature", value=float("nan")),
    "a calibration of nothing": _path("calibration", "scores", value=[]),
    "a calibration in words": _path("calibration", "new_below", value="low"),
    "half a product": _path("contents", "products", value=0.5),
    "a generation before the first": _path("generation", value=-1),
    "a search in words": _path("search", "oversampling", value="2"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_that_rubrika_would_not_write_is_refused(name: str, tmp_path: Path) -> None:
    WRITTEN.write(tmp_path)
    assert Manifest.read(tmp_path) == WRITTEN
    raw = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"))
    CHANGES[name](raw)
    (tmp_path / "index.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(IndexFolderError, match="not a manifest"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, " " * (MAX_BYTES + 1)], ids=["too deep", "too large"])
def test_a_manifest_that_cannot_be_parsed_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text, encoding="utf-8")
    with pytest.raises(IndexFolderError, match="not (a manifest|readable)"):
        Manifest.read(tmp_path)


def test_a_manifest_is_not_written_through_a_link(tmp_path: Path) -> None:
    mine = tmp_path / "mine.txt"
    mine.write_text("precious", encoding="utf-8")
    (tmp_path / "index.json.new").symlink_to(mine)
    WRITTEN.write(tmp_path)
    assert mine.read_text(encoding="utf-8") == "precious"
    assert Manifest.read(tmp_path) == WRITTEN


@pytest.mark.parametrize("there", ["link", "pipe"])
def test_a_lock_is_not_what_somebody_put_in_its_place(there: str, tmp_path: Path) -> None:
    mine, index = tmp_path / "mine.txt", tmp_path / "index"
    mine.write_text("precious", encoding="utf-8")
    index.mkdir()
    os.mkfifo(index / "lock") if there == "pipe" else (index / "lock").symlink_to(mine)
    with pytest.raises(IndexFolderError, match="lock: not the file that Rubrika makes there"), writing(index, "ingest"):
        pass
    assert mine.read_text(encoding="utf-8") == "precious"


def test_results_are_not_written_through_a_link(tmp_path: Path) -> None:
    mine, schema = tmp_path / "mine.txt", pa.schema([("product_id", pa.int64())])
    mine.write_text("precious", encoding="utf-8")
    (tmp_path / f"result.parquet.{os.getpid()}.unfinished").symlink_to(mine)
    with table_file(tmp_path / "result.parquet", schema) as target:
        target.write_table(pa.table({"product_id": [1]}))
    assert mine.read_text(encoding="utf-8") == "precious"
    assert read_ids(tmp_path / "result.parquet") == [1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "result.parquet"]


CONFIGS = {
    "too deep": "[" * 100_000,
    "a list": "[]",
    "a table that no memory holds": {"bits": 10**11},
    "a table of half a row": {"bits": 0},
    "bits in words": {"bits": "8"},
    "a width in words": {"size": "8"},
    "a width that no memory holds": {"size": 10**9},
    "inputs in words": {"inputs": "image"},
    "an input in words": {"inputs": {"image": "1280"}},
    "a weight that is no number": {"input_weight": float("nan")},
    "products in words": {"products": "many"},
    "categories in words": {"categories": ["shoes"]},
    "a category beyond 64 bits": {"categories": [10**30]},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_settings_of_an_encoder_that_rubrika_would_not_write_are_refused(name: str, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"size": 8, "bits": 4}), encoding="utf-8")
    assert read_config(tmp_path) == LearnedConfig(8, 4)
    given = CONFIGS[name]
    config.write_text(given if isinstance(given, str) else json.dumps({"size": 8, "bits": 4} | given), encoding="utf-8")
    with pytest.raises(EncoderError, match="cannot be read"):
        read_config(tmp_path)


# What makes a terminal clear its screen, in 7 bits and in 8, and what turns a line round.
MARKS = ("\x1b[2J", "\x9b2J", "\u202e")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of shoes and cases, and the file it was made from."""
    folder = tmp_path_factory.mktemp("shop")
    rows = [row(id, f"кеды {id}") if id % 2 else row(id, f"чехол {id}", CASES) for id in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "shop.parquet")
    run("ingest", folder / "shop.parquet", "--index", folder / "index")
    return folder


def run(*words: object) -> Result:
    """A command in this process, which spares a second."""
    return CliRunner().invoke(app, list(map(str, words)))


def rewritten(shop: Path, tmp_path: Path, change: Callable[[Payload], Payload]) -> Path:
    """A copy of the index whose payloads somebody else has written."""
    index = copied(shop / "index", tmp_path / "index")
    store = EdgeStore.open(edge_folder(index))
    points = [point for page in store.scroll() for point in page]
    store.replace_payloads({point.id: change(point.payload) for point in points})
    store.close()
    return index


ASKED = {
    "neighbours": ("neighbours", "1"),
    "explain": ("explain", "1"),
    "audit": ("audit", "-o"),
    "classify": ("classify", "shop.parquet", "-o"),
    "learn": ("learn",),
}


def asked(name: str, shop: Path, tmp_path: Path, index: Path) -> Result:
    words = [str(shop / word) if word == "shop.parquet" else word for word in ASKED[name]]
    return run(*words, *([tmp_path / "out.parquet"] if words[-1] == "-o" else []), "--index", index)


@pytest.mark.parametrize("name", ["neighbours", "explain", "audit"])
def test_what_somebody_else_stored_cannot_command_a_terminal(name: str, shop: Path, tmp_path: Path) -> None:
    def marked(payload: Payload) -> Payload:
        texts = {key: payload[key] + "".join(MARKS) for key in ("title", "category", "category_path")}
        # One that its neighbours contradict.
        return payload | texts | ({"category_id": CASES[0]} if payload["product_id"] == 39 else {})

    done = asked(name, shop, tmp_path, rewritten(shop, tmp_path, marked))
    assert done.exit_code == 0, done.output
    assert "кеды" in done.stdout
    assert [mark for mark in MARKS if mark in done.stdout] == []


@pytest.mark.parametrize("payload", [{}, {"category_id": "11"}, {"category_id": 11, "title": 5}], ids=str)
@pytest.mark.parametrize("name", ASKED)
def test_points_that_are_no_products_end_in_a_sentence(name: str, payload: Payload, shop: Path, tmp_path: Path) -> None:
    done = asked(name, shop, tmp_path, rewritten(shop, tmp_path, lambda _: payload))
    if name == "classify" and payload.get("category_id") == 11:
        assert done.exit_code == 0  # a vote needs no more, and the index itself knows the name
        return
    assert isinstance(done.exception, StoreError | IndexFolderError), done.exception
    assert re.search(
        r"point \d+ is not a product with a |there are no products in it|of one category", str(done.exception)
    )


def test_points_with_ids_of_another_kind_end_in_a_sentence(tmp_path: Path) -> None:
    store = EdgeStore.create(tmp_path, {"text": 2})
    store.close()
    shard = edge.EdgeShard.load(str(tmp_path))
    point = edge.Point(str(UUID(int=1)), {"text": [1.0, 0.0]}, {"category_id": 11})
    shard.update(edge.UpdateOperation.upsert_points([point]))
    shard.close()
    store = EdgeStore.open(tmp_path)
    queries = np.ones((1, 2), np.float32)
    for work in (lambda: list(store.scroll()), lambda: store.search("text", queries, 1)):
        with pytest.raises(StoreError, match="is not a product with a product_id"):
            work()


@pytest.mark.parametrize("command", ["decide", "ingest", "classify"])
@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_not_a_file_is_not_waited_for(command: str, kind: str, shop: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.parquet"
    os.mkfifo(given) if kind == "pipe" else given.mkdir()
    place = [] if command == "decide" else ["--index", shop / "index"]
    done = run(command, given, *place)
    assert isinstance(done.exception, InputError)
    assert "not a file" in str(done.exception) or "a folder without a table" in str(done.exception)


def test_pictures_that_an_index_cannot_use_are_said(shop: Path, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    place = ("--index", shop / "index", "--images", tmp_path / "pictures")
    for command in (("ingest", shop / "shop.parquet"), ("classify", shop / "shop.parquet", "-o", tmp_path / "out.csv")):
        done = run(*command, *place)
        assert (done.exit_code, done.exception) == (0, None)
        assert "this index has no image vector, so pictures are not used; ingest into a new folder" in done.stderr


def test_two_processes_may_write_one_file_and_the_last_to_end_has_it(tmp_path: Path) -> None:
    path, schema = tmp_path / "result.parquet", pa.schema([("product_id", pa.int64())])
    (tmp_path / "result.parquet.1.unfinished").write_bytes(b"left by a run that was killed")
    other = f"""
import pyarrow as pa
from pathlib import Path
from rubrika.files import table_file
with table_file(Path({str(path)!r}), pa.schema([("product_id", pa.int64())])) as target:
    target.write_table(pa.table({{"product_id": [2]}}))
"""
    with table_file(path, schema) as target:
        subprocess.run([sys.executable, "-c", other], check=True)
        assert read_ids(path) == [2]
        target.write_table(pa.table({"product_id": [1]}))
    assert read_ids(path) == [1]
    assert [each.name for each in tmp_path.iterdir()] == ["result.parquet"]
