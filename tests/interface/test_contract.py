"""The contract of the command line, frozen: exit codes, JSON keys, schemas, bytes and figures on a made-up market.

`RUBRIKA_FREEZE=1 pytest tests/interface/test_contract.py` writes `contract.json` anew, where a change is meant.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Run, copied

CONTRACT = Path(__file__).with_name("contract.json")
# Run in this order, in one folder that holds the marketplace as `market`, and some of it; the index is `rubrika-index`.
STEPS = {
    "ingest": "ingest market/train.parquet --json",
    "info": "info --json",
    "categories": "categories --json",
    "classify": "classify market/test.parquet --details details.parquet --monitor runs.jsonl --json",
    "info_drift": "info --drift runs.jsonl --json",
    "classify_level": "classify market/test.parquet --level 2 -o level.parquet --json",
    "decide": "decide details.parquet --max-error 0.01 -o decided.parquet --json",
    "neighbours": "neighbours --title кроссовки -k 3 --json",
    "explain": "explain --title кроссовки --json",
    "audit": "audit -o audit.parquet --duplicates pairs.parquet --json",
    "stats": "stats market/train.parquet --group-by group_key --json",
    "evaluate": "evaluate few.parquet --json",
    "evaluate_groups": "evaluate market/train.parquet --group-by group_key --json",
    "evaluate_index": "evaluate market/train.parquet --index rubrika-index --fail-below rows=1351 --json",
    "tune": "tune few.parquet --holdout 0.3 --json",
    "ingest_again": "ingest market/train.parquet --json",
    "relabel_unknown": "relabel --from 999999 --to 1 --path A->B --json",
    "delete": "delete 1 2 3 --json",
    "check": "check --json",
    "learn": "learn --json",
    "no_file": "classify nowhere.parquet --json",
    "no_index": "info --index nowhere --json",
    "no_figure": "evaluate market/train.parquet --fail-below f1=0.9 --json",
    "bad_option": "classify market/test.parquet --top-k 0",
    "no_question": "neighbours --json",
    "no_url": "info --collection products --json",
}
FIGURES = ("weighted_f1", "macro_f1", "accuracy", "ci95", "hierarchical_f1", "rows", "classes", "split", "k")
FILES = ("result.parquet", "details.parquet", "level.parquet", "decided.parquet", "audit.parquet", "pairs.parquet")
BYTES = ("result.parquet", "details.parquet", "level.parquet", "decided.parquet")


@pytest.fixture(scope="module")
def seen(
    market: Path, index: Path, evaluated: Path, rubrika: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What every step does now."""
    folder = tmp_path_factory.mktemp("contract")
    (folder / "market").symlink_to(market)
    pq.write_table(pq.read_table(market / "train.parquet").slice(0, 400), folder / "few.parquet")
    # These were run once for all tests that look at them; the index is a copy of theirs.
    copied(index, folder / "rubrika-index")
    done = {"ingest": index.parent / "said.json", "evaluate_groups": evaluated / "said.json"}
    steps, encoder = {}, ""
    for name, line in STEPS.items():
        run = Run(0, done[name].read_text(), "") if name in done else rubrika(*line.split(), cwd=folder)
        assert "Traceback" not in run.err, run.err
        steps[name] = {"code": run.code, "keys": _shape(json.loads(run.out)) if run.out.startswith("{") else None}
        if name.startswith("evaluate"):
            steps[name]["figures"] = {key: run.json[key] for key in FIGURES}
        if name == "ingest":
            encoder = _digest(folder / "rubrika-index" / "encoders" / "text" / "model.safetensors")
    return {
        "encoder": encoder,
        "steps": steps,
        "schemas": {name: str(pq.read_schema(folder / name).remove_metadata()).splitlines() for name in FILES},
        "bytes": {name: _digest(folder / name) for name in BYTES},
    }


@pytest.fixture(scope="module")
def frozen(seen: dict[str, Any]) -> dict[str, Any]:
    if os.environ.get("RUBRIKA_FREEZE"):
        CONTRACT.write_text(json.dumps(seen, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return json.loads(CONTRACT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("step", STEPS)
def test_a_command_exits_and_answers_as_ever(step: str, seen: dict[str, Any], frozen: dict[str, Any]) -> None:
    for part in ("code", "keys"):
        assert seen["steps"][step][part] == frozen["steps"][step][part]


def test_files_have_the_columns_they_always_had(seen: dict[str, Any], frozen: dict[str, Any]) -> None:
    assert seen["schemas"] == frozen["schemas"]


@pytest.mark.parametrize("step", ["evaluate", "evaluate_groups", "evaluate_index"])
def test_evaluate_finds_the_figures_it_always_found(step: str, seen: dict[str, Any], frozen: dict[str, Any]) -> None:
    now, then = seen["steps"][step]["figures"], frozen["steps"][step]["figures"]
    for name in ("rows", "classes", "split", "k"):
        assert now[name] == then[name]
    # Learning adds floats in an order that a processor chooses; on the one that froze them they are the same.
    tolerance = 1e-9 if seen["encoder"] == frozen["encoder"] else 0.02
    for name in ("weighted_f1", "macro_f1", "accuracy", "hierarchical_f1", "ci95"):
        assert now[name] == pytest.approx(then[name], abs=tolerance)


def test_files_have_the_same_bytes(seen: dict[str, Any], frozen: dict[str, Any]) -> None:
    if seen["encoder"] != frozen["encoder"]:
        pytest.skip("the encoder that this processor learns differs in its last digits, so bytes may")
    assert seen["bytes"] == frozen["bytes"]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _shape(value: object) -> object:
    """The keys of a JSON value, and of what is in it; of a list those of its first."""
    if isinstance(value, dict):
        # Categories, reasons and the like are data, not keys.
        names = all(name.isidentifier() for name in value)
        return {name: _shape(each) for name, each in sorted(value.items())} if names and value else {}
    return [_shape(value[0])] if isinstance(value, list) and value else ""
