"""Many processes by Ray write what one process would, whatever happens to them; run by `make test-slow`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import run_rubrika
from index_contents import contents
from models import save_vit
from qdrant_http import QdrantOverHttp, serve
from qdrant_rules import Refused
from rows import row

from rubrika.api import Index as Opened
from rubrika.encode.learned import LearnedEncoder
from rubrika.index.encoders import Encoders
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest
from rubrika.ingest.ingest import ingest
from rubrika.ingest.write import IngestReport
from rubrika.products.parts import parts_of
from rubrika.products.reader import Reader
from rubrika.retrieve.ray import Ray
from rubrika.sample import write_sample
from rubrika.store.connection import Connection
from rubrika.store.faults import RefusedError

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'rubrika[ray]'")
# Ray's own: processes and files that it leaves to the end, and names that it is about to change.
pytestmark = [
    pytest.mark.skipif("RUBRIKA_SLOW" not in os.environ, reason="processes take minutes to start: `make test-slow`"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

TWO = Ray(actors=2, part_rows=256)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two processors of this machine, for all tests of this file, or what runs at RAY_ADDRESS."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    own = {} if "RAY_ADDRESS" in os.environ else {"address": "local", "num_cpus": 2, "include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **own)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def server() -> Iterator[QdrantOverHttp]:
    with serve() as started:
        yield started


@pytest.fixture(scope="module")
def encoders(index: Path) -> Encoders:
    """Learned once, so that no test waits for that."""
    with Index.open(Location(index, cache=index)) as opened:
        return opened.encoders


@pytest.fixture(scope="module")
def catalogue(market: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files, in which ids come again, alike and otherwise, also from one file to the other, and rows are bad."""
    folder, products = tmp_path_factory.mktemp("catalogue"), pd.read_parquet(market / "train.parquet")
    again, other = (
        products.iloc[[3, 900]],
        products.iloc[[5]].assign(text_fields=row(1, "совсем другой")["text_fields"]),
    )
    bad = products.iloc[[7, 8]].assign(product_id=[10**9, 10**9 + 1], text_fields="[")
    pd.concat([products[:700], again, bad[:1]]).to_parquet(folder / "a.parquet", row_group_size=300)
    pd.concat([products[700:], other, bad[1:]]).to_parquet(folder / "b.parquet")
    return [folder / "a.parquet", folder / "b.parquet"]


def write(
    folder: Path, server: QdrantOverHttp, files: list[Path], encoders: Encoders, on: Ray | None = None
) -> IngestReport:
    """Ingest into the folder, its points being in a collection of its name."""
    from rubrika.ingest.ray import Spread

    reader = Reader(files, labelled=True)
    spread = Spread(on, reader, folder.with_suffix(".rejects")) if on else None
    at = Location(folder, Connection(server.url, folder.name), folder)
    return ingest(at, reader, prepared=encoders, calibrated=False, spread=spread)


@pytest.fixture(scope="module")
def alone(
    server: QdrantOverHttp, catalogue: list[Path], encoders: Encoders, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, IngestReport]:
    """What one process has made of the catalogue."""
    folder = tmp_path_factory.mktemp("alone") / "alone"
    return folder, write(folder, server, catalogue, encoders)


def counts(report: IngestReport) -> dict[str, Any]:
    found = report.to_dict()
    return {name: found[name] for name in ("read", "added", "updated", "relabelled", "unchanged", "kept", "rejected")}


def reasons(*tables: Path) -> list[tuple[str, int, str]]:
    found = pd.concat([pq.read_table(table).to_pandas() for table in tables])
    return sorted(zip(found["file"].map(lambda file: Path(file).name), found["row"], found["reason"], strict=True))


def test_a_refused_write_and_a_killed_actor_leave_what_one_process_makes(
    cluster: None,
    server: QdrantOverHttp,
    catalogue: list[Path],
    encoders: Encoders,
    alone: tuple[Path, IngestReport],
    tmp_path: Path,
) -> None:
    folder, writes, killed = tmp_path / "spread", list[str](), list[int]()

    def refuse_the_fifth(method: str, path: str) -> None:
        writes.extend([path] if (method, path[-7:]) == ("PUT", "/points") else [])
        if len(writes) == 5:
            raise Refused("INVALID_ARGUMENT", "Wrong input: a broken disk")

    def kill_the_first_actor(method: str, path: str) -> None:
        # It has its encoders open, and asks what is stored.
        if (method, path[-7:]) == ("POST", "/points") and not killed and (found := actors()):
            killed.append(found[0])
            os.kill(found[0], signal.SIGKILL)

    with asked(server, refuse_the_fifth), pytest.raises(RefusedError) as caught:
        write(folder, server, catalogue, encoders, TWO)
    assert str(caught.value) == f"{server.url}: the server refused (Wrong input: a broken disk)"
    with asked(server, kill_the_first_actor):
        report = write(folder, server, catalogue, encoders, TWO)
    assert killed
    assert contents(folder) == contents(alone[0])
    total = counts(report)
    assert total["read"] == counts(alone[1])["read"]
    assert total["added"] < counts(alone[1])["added"]
    parts = sorted(folder.with_suffix(".rejects").glob("part-*.parquet"))
    assert len(parts) > 1
    expected = sorted((one.file.name, one.row, one.reason) for one in alone[1].rejects)
    assert reasons(*parts) == expected
    assert len(expected) == total["rejected"] == 3


@contextmanager
def asked(server: QdrantOverHttp, look: Callable[[str, str], None]) -> Iterator[None]:
    """Look at every request, by method and path, before it is answered, until the block ends."""
    answer = server.answer

    def look_and_answer(method: str, path: str, body: dict[str, Any]) -> object:
        look(method, path)
        return answer(method, path, body)

    server.answer = look_and_answer
    try:
        yield
    finally:
        server.answer = answer


def actors() -> list[int]:
    """The processes that have the encoders open."""
    found = [each for each in ray._private.state.actors().values() if each["State"] == "ALIVE"]
    return [each["Pid"] for each in found if "MapWorker" in each["ActorClassName"]]


def test_only_what_changed_is_encoded_and_written(
    cluster: None,
    server: QdrantOverHttp,
    catalogue: list[Path],
    encoders: Encoders,
    tmp_path: Path,
) -> None:
    changed, folder = pd.read_parquet(catalogue[0])[:400], tmp_path / "changed"
    # Not a copy of what another test has made: the copy of a folder has the same collection.
    write(folder, server, catalogue, encoders)
    changed.loc[changed.index[10], "text_fields"] = row(1, "новый текст")["text_fields"]
    changed.loc[changed.index[20], "rating"] = 1.25
    changed.to_parquet(tmp_path / "changed.parquet")
    upserts = [path for path in server.answered if path[0] == "PUT" and path[1].endswith("/points")]
    report = write(folder, server, [tmp_path / "changed.parquet"], encoders, TWO)
    assert counts(report) | {"read": 0} == dict.fromkeys(counts(report), 0) | {"updated": 2, "unchanged": 398}
    assert report.encoded == 1
    now = [path for path in server.answered if path[0] == "PUT" and path[1].endswith("/points")]
    assert len(now) - len(upserts) == 1


def test_an_actor_opens_its_encoders_once(
    server: QdrantOverHttp, catalogue: list[Path], alone: tuple[Path, IngestReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rubrika.ingest.ray import IngestWork, PointMaker

    loaded, load = list[Path](), LearnedEncoder.load.__func__
    monkeypatch.setattr(
        LearnedEncoder, "load", classmethod(lambda cls, files: loaded.append(files) or load(cls, files))
    )
    reader, folder = Reader(catalogue, labelled=True), alone[0]
    there = Connection(server.url, str(Manifest.read(folder).behind))
    parts = parts_of(reader, 256)
    work = IngestWork(folder, there, folder, reader, parts, frozenset(), None, {}, {})
    maker = PointMaker(work)
    for number in range(3):
        maker({"item": [number]})
    assert len(loaded) == 1


def test_predictions_are_those_of_one_process_and_an_interrupted_run_keeps_its_parts(
    cluster: None, alone: tuple[Path, IngestReport], market: Path, tmp_path: Path
) -> None:
    new = pd.concat([pd.read_parquet(market / "train.parquet")[:500], pd.read_parquet(market / "test.parquet")])
    new.iloc[[300]] = new.iloc[[300]].assign(text_fields="[")
    new.drop(columns="category_id").to_parquet(tmp_path / "new.parquet")
    with Opened.open(alone[0]) as index:
        index.classify_file(tmp_path / "new.parquet", tmp_path / "one.parquet", details=tmp_path / "more.parquet")
        ways = {"details": tmp_path / "more", "ray": TWO}
        report = index.classify_file(tmp_path / "new.parquet", tmp_path / "many", **ways)
        parts = sorted((tmp_path / "many").glob("part-*.parquet"))
        assert len(parts) == 3
        assert pq.read_table(parts).equals(pq.read_table(tmp_path / "one.parquet"))
        more = sorted((tmp_path / "more").glob("part-*.parquet"))
        assert pq.read_table(more).equals(pq.read_table(tmp_path / "more.parquet"))
        assert (report.rows, report.rejected) == (650, 1)
        assert pq.read_table(tmp_path / "many.rejects")["row"].to_pylist() == [301]
        (tmp_path / "many" / "_SUCCESS").unlink()
        parts[1].unlink()
        times = parts[0].stat().st_mtime_ns, parts[2].stat().st_mtime_ns
        again = index.classify_file(tmp_path / "new.parquet", tmp_path / "many", **ways)
    assert replace(again, seconds=report.seconds) == report
    assert (parts[0].stat().st_mtime_ns, parts[2].stat().st_mtime_ns) == times
    assert pq.read_table(parts).equals(pq.read_table(tmp_path / "one.parquet"))
    assert (tmp_path / "many" / "_SUCCESS").exists()


def test_other_options_keep_no_part_of_an_earlier_run(
    cluster: None, alone: tuple[Path, IngestReport], market: Path, tmp_path: Path
) -> None:
    products, to = pd.read_parquet(market / "test.parquet")[:200], tmp_path / "many"
    products.to_parquet(tmp_path / "new.parquet")
    written = list[set[int]]()
    with Opened.open(alone[0]) as index:
        for top_k in (1, 15):
            index.classify_file(tmp_path / "new.parquet", to, ray=TWO, top_k=top_k)
            parts = sorted(to.glob("part-*"))
            written.append({part.stat().st_mtime_ns for part in parts})
            # As if it had been interrupted at the very end.
            (to / "_SUCCESS").unlink()
            index.classify_file(tmp_path / "new.parquet", tmp_path / "one.parquet", top_k=top_k)
            assert pq.read_table(parts).equals(pq.read_table(tmp_path / "one.parquet"))
    assert not written[0] & written[1]


def test_rows_with_and_without_pictures_are_as_one_process_has_them(
    cluster: None, server: QdrantOverHttp, tmp_path: Path
) -> None:
    write_sample(tmp_path, seed=5, products=250)
    save_vit(tmp_path / "vit")
    images = tmp_path / "images" / "train"
    for picture in sorted(images.iterdir())[::2]:
        picture.unlink()
    reports = {}
    for name, on in (("one", None), ("many", Ray(actors=2, part_rows=64))):
        place = {"url": server.url, "collection": f"pictured-{name}", "cache": tmp_path / f"cache-{name}"}
        with Opened.open(tmp_path / name, **place) as index:
            reports[name] = index.ingest(
                tmp_path / "train.parquet", images, image_encoder=str(tmp_path / "vit"), ray=on
            )
    assert 0 < reports["one"].pictures == reports["many"].pictures < reports["one"].read
    vectors = {name: sum("image" in point[1] for point in contents(tmp_path / name).values()) for name in reports}
    assert vectors["one"] == reports["one"].pictures
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (("ingest", "train.csv", "--url", "URL", "--ray"), "train.csv: `ray` reads parquet"),
        (
            ("ingest", "train.parquet", "--ray"),
            "--ray has many processes write to one store: give the --url of a server",
        ),
        (("ingest", "train.parquet", "--url", "URL", "--ray", "--strict"), "leave --strict and --delete-missing out"),
        (("ingest", "train.parquet", "--actors", "3"), "they are said of --ray; leave out --actors"),
        (("classify", "train.parquet", "--ray", "--index", "INDEX"), "--ray needs an index on a server"),
    ],
)
def test_what_many_processes_cannot_do_is_refused_before_the_work(
    arguments: tuple[str, ...], refusal: str, server: QdrantOverHttp, index: Path, market: Path, tmp_path: Path
) -> None:
    pd.read_parquet(market / "train.parquet")[:20].to_parquet(tmp_path / "train.parquet")
    (tmp_path / "train.csv").write_text("product_id,title,category\n1,кеды,Обувь\n", encoding="utf-8")
    known = {"URL": server.url, "INDEX": str(index)}
    done = run_rubrika(*(known.get(word, word) for word in arguments), cwd=tmp_path)
    assert done.code == 2, done.err
    assert refusal.replace("`ray`", "--ray") in done.err


def test_a_driver_that_was_killed_is_run_again(
    server: QdrantOverHttp, catalogue: list[Path], encoders: Encoders, alone: tuple[Path, IngestReport], tmp_path: Path
) -> None:
    folder, first = tmp_path / "killed", list[bool]()
    # Made before, of a few, so that nothing is learned.
    pd.read_parquet(catalogue[0])[:5].to_parquet(tmp_path / "few.parquet")
    write(folder, server, [tmp_path / "few.parquet"], encoders)
    command = ["ingest", *catalogue, "--index", folder, "--url", server.url, "--collection", "killed", "--ray"]

    def note(method: str, path: str) -> None:
        first.extend([True] if (method, path[-7:]) == ("PUT", "/points") else [])

    start = [sys.executable, "-m", "rubrika", *map(str, command)]
    with asked(server, note):
        process = subprocess.Popen(start, start_new_session=True)
        end = time.monotonic() + 240
        while not first and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    done = subprocess.run([*start, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["unchanged"] > 0
    assert contents(folder) == contents(alone[0])
