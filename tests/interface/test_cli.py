"""The command line through its real entry point: what it prints, writes, and how it exits."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Run, run_process
from rows import CASES, row

Rubrika = Callable[..., Run]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def classified(rubrika: Rubrika, market: Path, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classified")
    outputs = ("-o", folder / "result.parquet", "--details", folder / "details.parquet")
    done = rubrika("classify", market / "test.parquet", "--index", index, *outputs, "--json")
    assert done.code == 0, done.err
    assert done.json["rows"] == len(pd.read_parquet(market / "test.parquet"))
    return folder


def test_help_answers_at_once() -> None:
    started = time.monotonic()
    done = run_process("--help")
    # Under half a second on a quiet machine; a heavy import would take several.
    assert time.monotonic() - started < 1.5
    assert all(name in done.out for name in ("sample", "ingest", "classify", "evaluate", "neighbours", "info"))


def test_sample_writes_a_marketplace(rubrika: Rubrika, tmp_path: Path) -> None:
    done = rubrika("sample", tmp_path / "market", "--products", "300", "--json")
    assert done.json["train"] + done.json["test"] == 300
    assert {path.name for path in (tmp_path / "market").iterdir()} == {"train.parquet", "test.parquet", "images"}


def test_the_result_has_two_columns_and_a_row_for_every_product(classified: Path, market: Path) -> None:
    result = pq.read_table(classified / "result.parquet")
    assert result.schema.names == ["product_id", "predicted_category_id"]
    asked = pd.read_parquet(market / "test.parquet")
    assert result["product_id"].to_pylist() == asked["product_id"].tolist()
    known = set(pd.read_parquet(market / "train.parquet")["category_id"])
    assert set(result["predicted_category_id"].to_pylist()) <= known


def test_details_show_what_a_prediction_rests_on(classified: Path, market: Path) -> None:
    train = pd.read_parquet(market / "train.parquet").set_index("product_id")
    details = pq.read_table(classified / "details.parquet").to_pylist()
    assert {one["decision"] for one in details} <= {"auto", "review", "new"}
    for one in details:
        assert 0 <= one["confidence"] <= 1
        assert sum(other["share"] for other in one["alternatives"]) == pytest.approx(1, abs=1e-3)
        assert one["alternatives"][0]["category_id"] == one["predicted_category_id"]
        for neighbour in one["neighbours"]:
            assert train.loc[neighbour["product_id"], "category_id"] == neighbour["category_id"]
        voters = [n["product_id"] for n in one["neighbours"] if n["category_id"] == one["predicted_category_id"]]
        assert one["predicted_category_name"] == train.loc[voters[0], "category_name"]


def test_classifying_again_gives_the_same_bytes(
    rubrika: Rubrika, classified: Path, market: Path, index: Path, tmp_path: Path
) -> None:
    outputs = ("-o", tmp_path / "result.parquet", "--details", tmp_path / "details.parquet")
    assert rubrika("classify", market / "test.parquet", "--index", index, *outputs).code == 0
    for name in ("result.parquet", "details.parquet"):
        assert (tmp_path / name).read_bytes() == (classified / name).read_bytes()


def test_unreadable_products_keep_their_row_without_a_prediction(
    rubrika: Rubrika, index: Path, write: Write, tmp_path: Path
) -> None:
    rows = [row(1, "кроссовки"), row(2, "кеды", text_fields="{{"), row(None, "чехол"), row(4, "чехол для телефона")]
    path = write(rows)
    done = rubrika("classify", path, "--index", index, "-o", tmp_path / "result.parquet", "--json")
    assert (done.json["rows"], done.json["rejected"]) == (4, 2)
    result = pq.read_table(tmp_path / "result.parquet").to_pylist()
    assert [one["product_id"] for one in result] == [1, 2, None, 4]
    assert [one["predicted_category_id"] is None for one in result] == [False, True, True, False]
    reasons = pd.read_parquet(tmp_path / "result.rejects.parquet")
    assert reasons["row"].tolist() == [2, 3]
    assert reasons["reason"].tolist() == ["text_fields is neither JSON nor a Python literal", "product_id is empty"]


def test_a_file_without_rows_gives_a_result_without_rows(
    rubrika: Rubrika, index: Path, market: Path, tmp_path: Path
) -> None:
    pd.read_parquet(market / "test.parquet").head(0).to_parquet(tmp_path / "none.parquet")
    assert rubrika("classify", tmp_path / "none.parquet", "--index", index, "-o", tmp_path / "r.parquet").code == 0
    assert pq.read_table(tmp_path / "r.parquet").num_rows == 0


def test_ingest_counts_and_keeps_rejects(rubrika: Rubrika, write: Write, tmp_path: Path) -> None:
    path = write([row(1, "кроссовки"), row(2, "чехол", CASES), row(-3, "кеды")])
    done = rubrika("ingest", path, "--index", tmp_path / "index", "--json")
    assert done.out.count("\n") == 1
    answer = done.json
    assert {name: answer[name] for name in ("read", "added", "rejected")} == {"read": 3, "added": 2, "rejected": 1}
    [reject] = pd.read_parquet(answer["rejects"]).to_dict("records")
    assert (reject["row"], reject["product_id"]) == (3, "-3")
    assert rubrika("ingest", path, "--index", tmp_path / "index", "--strict").code == 1


def test_evaluate_reports_the_contract(evaluated: Path) -> None:
    answer = json.loads((evaluated / "said.json").read_text(encoding="utf-8"))
    low, high = answer["ci95"]
    assert low < answer["weighted_f1"] < high
    assert 0.75 < answer["weighted_f1"] < 0.99
    assert answer["split"]["how"] == "groups of group_key"
    assert [point["k"] for point in answer["sweep"]] == list(range(1, 21))
    assert {"macro_f1", "accuracy", "rows", "classes", "k"} <= set(answer)


def test_neighbours_of_a_title_are_a_readable_table(rubrika: Rubrika, index: Path) -> None:
    done = rubrika("neighbours", "--title", "кроссовки женские", "-k", "3", "--index", index)
    assert all(word in done.out for word in ("similarity", "category", "title", "id"))
    assert "\x1b[" not in done.out


def test_neighbours_of_a_stored_product_leave_itself_out(rubrika: Rubrika, index: Path, market: Path) -> None:
    product = int(pd.read_parquet(market / "train.parquet")["product_id"][0])
    found = rubrika("neighbours", product, "-k", "5", "--index", index, "--json").json["neighbours"]
    assert len(found) == 5
    assert product not in {one["product_id"] for one in found}
    similarities = [one["similarity"] for one in found]
    assert similarities == sorted(similarities, reverse=True)


def test_info_says_what_is_in_the_index(rubrika: Rubrika, index: Path, market: Path) -> None:
    train = pd.read_parquet(market / "train.parquet")
    answer = rubrika("info", "--index", index, "--json").json
    assert (answer["products"], answer["categories"]) == (len(train), train["category_id"].nunique())
    assert answer["vectors"]["text"]["encoder"] == "learned"
    assert (answer["recall"]["text"]["reached"], answer["recall"]["text"]["products"]) == (1.0, 200)
    assert "1.0000 of the nearest 10 (200 products, oversampling 32)" in rubrika("info", "--index", index).out


def test_info_shows_names_as_they_are(rubrika: Rubrika, copy: Path) -> None:
    manifest = copy / "index.json"
    manifest.write_text(manifest.read_text().replace('"encoder": "learned"', '"encoder": "[red]котоэнкодер[/]"'))
    assert "[red]котоэнкодер[/], " in rubrika("info", "--index", copy).out


def test_the_index_folder_may_come_from_the_environment(rubrika: Rubrika, index: Path) -> None:
    assert rubrika("info", "--json", RUBRIKA_INDEX=str(index)).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["classify", "nowhere.parquet"], "nowhere.parquet: no such file"),
        (["ingest", "nowhere.parquet"], "nowhere.parquet: no such file"),
        (["evaluate", "nowhere.parquet"], "nowhere.parquet: no such file"),
        (["info", "--index", "nowhere"], "nowhere: no index here; run `rubrika ingest"),
        (["neighbours", "1", "--index", "nowhere"], "nowhere: no index here"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(rubrika: Rubrika, arguments: list[str], said: str) -> None:
    done = rubrika(*arguments)
    assert (done.code, done.out) == (1, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("rubrika: ")]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["neighbours"],
        ["neighbours", "1", "--title", "кеды"],
        ["classify"],
        ["ingest"],
        ["nonsense"],
        ["info", "--top", "1"],
        ["info", "--collection", "products"],
    ],
)
def test_wrong_usage_is_exit_code_2(rubrika: Rubrika, arguments: list[str]) -> None:
    assert rubrika(*arguments).code == 2


@pytest.mark.parametrize("option", [["--vote", "image"], ["--image-encoder", "vit"]])
def test_an_encoder_of_pictures_needs_pictures(rubrika: Rubrika, write: Write, option: list[str]) -> None:
    assert rubrika("ingest", write([row(1, "кеды")]), *option).code == 2


def test_a_folder_has_no_web_ui(rubrika: Rubrika, index: Path) -> None:
    done = rubrika("neighbours", "--title", "кеды", "--open", "--index", index)
    assert done.code == 1
    assert "only a server has a web UI" in done.err


def test_unknown_products_are_said(rubrika: Rubrika, index: Path) -> None:
    done = rubrika("neighbours", "999999999", "--index", index)
    assert (done.code, done.out) == (1, "")
    assert "product 999999999 is not in" in done.err


@pytest.mark.parametrize(
    ("words", "code"), [(["info", "--json"], 0), (["info", "--index", "nowhere"], 1), (["info", "--top", "1"], 2)]
)
def test_a_process_of_its_own_says_the_same(rubrika: Rubrika, index: Path, words: list[str], code: int) -> None:
    done = run_process(*words, RUBRIKA_INDEX=str(index))
    assert vars(done) == vars(rubrika(*words, RUBRIKA_INDEX=str(index)))
    assert done.code == code


def test_json_is_the_only_thing_on_stdout(index: Path) -> None:
    assert json.loads(run_process("neighbours", "--title", "кеды", "--index", index, "--json").out)
