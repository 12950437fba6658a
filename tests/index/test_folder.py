"""The index folder: what cannot be trusted is refused in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from rubrika.encode.learned import LearnedConfig, LearnedEncoder
from rubrika.errors import IndexFolderError
from rubrika.index.encoders import Encoders
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.index.manifest import Manifest, VectorSpec, VoteSettings
from rubrika.products.product import Product


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(index, tmp_path / "copy"))


def test_a_manifest_reads_as_it_was_written(tmp_path: Path) -> None:
    written = Manifest(
        {"text": VectorSpec("learned", 128, "ab" * 32)}, vote=VoteSettings({"text": 1.0}, top_k=7, temperature=12.5)
    )
    written.write(tmp_path)
    assert Manifest.read(tmp_path) == written
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


def test_no_index_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError, match="no index here; run `rubrika ingest FILE"):
        Index.open(Location(tmp_path, cache=tmp_path))


def test_an_index_of_a_newer_format_is_refused(copy: Path) -> None:
    manifest = json.loads((copy / "index.json").read_text())
    (copy / "index.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(IndexFolderError, match=r"newer Rubrika \(format 99, this one reads up to 1\)"):
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
