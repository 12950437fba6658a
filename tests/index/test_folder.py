"""The index folder: what cannot be trusted is refused in one sentence."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import numpy as np
import portalocker
import pytest

from rubrika.encode.learned import LearnedConfig, LearnedEncoder
from rubrika.errors import IndexFolderError
from rubrika.files import read_bounded
from rubrika.index import manifest
from rubrika.index.encoders import Encoders
from rubrika.index.folder import Index, changing, writing
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest, VectorSpec, VoteSettings
from rubrika.products.product import Product
from rubrika.store.connection import Recall, SearchOptions


def test_a_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    written = Manifest(
        {"text": VectorSpec("learned", 128, "ab" * 32)}, vote=VoteSettings({"text": 1.0}, top_k=7, temperature=12.5)
    )
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_index_json_keeps_the_names_it_had_and_passes_over_new_ones(tmp_path: Path) -> None:
    vote = VoteSettings(unseen_reach=0.25)
    spec = VectorSpec("learned", 128, "ab" * 32)
    recall = {"text": Recall(oversampling=None, reached=1.0, products=200)}
    written = Manifest({"text": spec}, search=SearchOptions(hnsw_ef=64), recall=recall, vote=vote)
    written.write(tmp_path)
    raw = json.loads((tmp_path / "index.json").read_text())
    assert raw == written.to_dict()
    assert raw["search"] == {"search_effort": 64, "oversampling": 32.0}
    assert raw["recall"]["text"] == {"search_effort": None, "oversampling": None, "reached": 1.0, "products": 200}
    assert raw["vote"] == {
        "name_reach": 0.6,
        "temperature": 60.0,
        "top_k": 10,
        "unseen_reach": 0.25,
        "weights": {"text": 1.0},
    }
    assert raw["vote"] == vote.to_dict()
    (tmp_path / "index.json").write_text(json.dumps(raw | {"later": {}}))
    assert Manifest.read(tmp_path) == written


def test_how_an_index_is_searched_is_measured_kept_and_used_and_one_that_does_not_say_it_opens(
    index: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(index, tmp_path / "index"))
    at, raw = Location(folder), json.loads((folder / "index.json").read_text())
    assert raw["recall"] == {"text": {"oversampling": 32.0, "products": 200, "reached": 1.0, "search_effort": None}}
    for kept in (raw, {name: part for name, part in raw.items() if name != "recall"}):
        (folder / "index.json").write_text(json.dumps(kept))
        with Index.open(at) as opened:
            assert opened.store.recall == opened.manifest.recall
            assert bool(opened.store.recall) == ("recall" in kept)
            query = np.eye(1, opened.manifest.sizes["text"], dtype=np.float32)
            assert opened.store.search("text", query, 3).ids.shape == (1, 3)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("vote", "top_k", True),
        ("vote", "temperature", True),
        ("vote", "unseen_bonus", 0.1),
        ("calibration", "rows", float("inf")),
        ("calibration", "levels", [[0.5]]),
        ("search", "m", 16),
        ("contents", "sources", "train.parquet"),
        ("contents", "\x1b[2J", 1),
    ],
)
def test_what_no_manifest_holds_is_refused_in_one_line(tmp_path: Path, part: str, name: str, value: object) -> None:
    raw = Manifest({"text": VectorSpec("learned", 128, "ab" * 32)}).to_dict()
    raw[part][name] = value
    (tmp_path / "index.json").write_text(json.dumps(raw))
    with pytest.raises(IndexFolderError, match="not a manifest") as failure:
        Manifest.read(tmp_path)
    assert str(failure.value).isprintable()


def test_an_index_is_held_and_its_json_read_once_while_it_is_edited(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Path] = []
    monkeypatch.setattr(manifest, "read_bounded", lambda path, size: reads.append(path) or read_bounded(path, size))
    at = Location(copy, cache=copy)
    with writing(copy, "delete"), changing(at, [copy / "more.parquet"]) as opened:
        before = json.loads((copy / "index.json").read_text())["contents"]["products"]
        with pytest.raises(IndexFolderError, match="`rubrika delete` .* is changing this index"), writing(copy, "tune"):
            pass
        opened.store.delete([point.id for point in next(opened.store.scroll(payload=False))[:3]])
        left = opened.store.count()
        # Once something is written, and until that has ended well, a change is under way.
        under_way = json.loads((copy / "index.json").read_text())["contents"]["products"]
    assert (before, under_way) == (left + 3, None)
    assert reads == [copy / "index.json"]
    contents = Manifest.read(copy).contents
    assert (contents.products, contents.sources[-1]) == (left, str(copy / "more.parquet"))


def test_a_lock_that_its_holder_removed_a_moment_ago_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = portalocker.lock

    def remove_then_lock(file: TextIO, flags: portalocker.LockFlags) -> None:
        # What a process does that ends without having made an index, between our opening the file and our locking it.
        Path(file.name).unlink()
        lock(file, flags)

    with monkeypatch.context() as patch:
        patch.setattr(portalocker, "lock", remove_then_lock)
        with pytest.raises(IndexFolderError, match="is changing this index"), writing(tmp_path / "index", "ingest"):
            pytest.fail("two processes would hold the index")
    with writing(tmp_path / "index", "ingest"):
        assert (tmp_path / "index" / "lock").exists()


def test_pydantic_is_not_imported_before_an_index_is_read() -> None:
    code = "import sys, rubrika, rubrika.index.manifest; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_index_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError, match="no index here; run `rubrika ingest FILE"):
        Index.open(Location(tmp_path, cache=tmp_path))


def test_an_index_of_a_newer_format_is_refused(copy: Path) -> None:
    raw = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps(raw | {"format": 99}))
    with pytest.raises(IndexFolderError, match=r"newer Rubrika \(format 99, this one reads up to 3\)"):
        Index.open(Location(copy, cache=copy))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "vectors": 3}', "\x00"])
def test_a_damaged_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / "index.json").write_text(text)
    with pytest.raises(IndexFolderError, match=r"index\.json"):
        Index.open(Location(copy, cache=copy))


def test_a_vector_that_is_not_a_number_counts_as_none() -> None:
    table = np.full((1024, 4), np.nan, np.float16)
    broken = Encoders(LearnedEncoder(LearnedConfig(4, 10), table))
    assert broken.encode([Product(1, "ваза", "ваза", 1)], None).of(0) == {}


def test_a_changed_encoder_is_refused(copy: Path) -> None:
    weights = copy / "encoders" / "text" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IndexFolderError, match="its hash differs"):
        Index.open(Location(copy, cache=copy))
