"""Decisions: confidences mean what they say, and what stands, at which level, and what is called new."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st

from rubrika.eval.metrics import calibration_error, coverage, selective_risk_of
from rubrika.index.manifest import BUILT_IN, Calibration, Manifest
from rubrika.retrieve.confidence import Decisions, confidence, decide, evidence, fit, logistic
from rubrika.retrieve.guarantee import NEVER, Policy, threshold
from rubrika.store.base import Hits
from rubrika.vote import Votes, weighted_vote

Rubrika = Callable[..., Run]


SURE = Calibration(
    replace(BUILT_IN, curve=((0.9, 10_000, 0), (0.1, 20_000, 9_000))), similarities=((0.6, 0), (0.65, 9))
)
SURE = replace(SURE, rows=20_000)


def made_up(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Evidence for and against, and whether the prediction was right: as likely as the evidence says."""
    random = np.random.default_rng(seed)
    both = random.normal(0, 1.5, (count, 2)).astype(np.float32)
    right = random.random(count) < 1 / (1 + np.exp(-(2 + 2 * both[:, 0] - both[:, 1])))
    return both, right


def hits(*found: list[tuple[int, float, int]]) -> Hits:
    return Hits.of(list(found), max(map(len, found)))


def test_a_near_and_unanimous_neighbourhood_is_sure() -> None:
    sure, torn, far = (
        [(1, 0.99, 11), (2, 0.98, 11), (3, 0.97, 11)],
        [(1, 0.99, 11), (2, 0.98, 22), (3, 0.97, 22)],
        [(1, 0.60, 11), (2, 0.59, 11), (3, 0.58, 11)],
    )
    found = hits(sure, torn, far)
    decided = decide({"text": found}, weighted_vote(found, 60), {"text": 1.0}, SURE, Policy())
    assert decided.confidences.argsort().tolist()[-1] == 0
    assert decided.decisions.tolist() == ["auto", "review", "new"]


def test_nothing_found_is_new_and_of_no_confidence() -> None:
    nothing = Hits.none(2, 3)
    decided = decide({"text": nothing}, weighted_vote(nothing, 60), {"text": 1.0}, SURE, Policy())
    assert decided.confidences.tolist() == [0, 0]
    assert decided.decisions.tolist() == ["new", "new"]


def test_evidence_of_two_vectors_adds_up_by_their_weights() -> None:
    text, image = hits([(1, 1.0, 11)]), hits([(2, 1.0, 22)])
    votes = Votes(np.array([[11]]), np.array([[1.0]], np.float32))
    [[agreeing, other]] = np.exp(evidence({"text": text, "image": image}, votes, {"text": 0.75, "image": 0.25}))
    assert (agreeing, other) == (pytest.approx(0.751), pytest.approx(0.251))


def test_confidence_is_as_often_right_as_it_says() -> None:
    both, right = made_up(6_000)
    found = fit(both[:3_000], right[:3_000], np.arange(3_000))
    assert calibration_error(confidence(both[3_000:], found), right[3_000:]) < 0.03


def test_a_logistic_model_finds_the_weights_that_made_the_data() -> None:
    both, right = made_up(40_000)
    assert logistic(both, right) == pytest.approx([2, 2, -1], abs=0.1)


def test_perfect_predictions_do_not_break_the_fit() -> None:
    both, _ = made_up(1_000)
    found = fit(both, np.ones(1_000, bool), np.arange(1_000))
    assert np.isfinite(found.weights).all()
    assert threshold(found, Policy(max_error=0.02)) <= confidence(both, found).min()


def test_near_duplicates_that_err_together_tell_less() -> None:
    both, right = made_up(2_000)
    alone = fit(both, right, np.arange(2_000))
    # The same products, ten times each: nothing more is known.
    together = fit(np.repeat(both, 10, axis=0), np.repeat(right, 10), np.repeat(np.arange(2_000), 10))
    assert (alone.design, together.design) == (pytest.approx(1, abs=0.01), pytest.approx(10, rel=0.01))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.floats(0, 1))
def test_coverage_and_error_stay_within_bounds(rows: list[tuple[float, bool]], max_error: float) -> None:
    confidences = np.array([it for it, _ in rows], np.float32)
    right = np.array([it for _, it in rows])
    assert 0 <= calibration_error(confidences, right) <= 1
    assert 0 <= coverage(confidences, right, max_error) <= 1
    assert coverage(confidences, np.ones(len(rows), bool), 0.0) == 1


def test_reliance_counts_what_was_decided() -> None:
    decided = Decisions(np.array([0.9, 0.9, 0.5, 0.1], np.float32), np.array(["auto", "auto", "review", "new"]))
    found = selective_risk_of(decided, np.array([True, False, True, False]), 0.02)
    assert (found.auto, found.review, found.new, found.auto_error) == (0.5, 0.25, 0.25, 0.5)
    # Of two equally confident answers one is wrong, and the third has to wait for them.
    assert found.coverage == 0


def test_a_calibration_reads_as_it_was_written(tmp_path: Path, index: Path) -> None:
    both, right = made_up(200)
    leaf = fit(both, right, np.arange(200))
    manifest = Manifest.read(index)
    written = Manifest(manifest.vectors, calibration=Calibration(leaf, (leaf, leaf), ((0.5, 0),), 200, 200, 200))
    written.write(tmp_path)
    assert Manifest.read(tmp_path).calibration == written.calibration


def test_an_index_of_the_last_format_opens_and_promises_nothing(tmp_path: Path, index: Path) -> None:
    old = json.loads((index / "index.json").read_text()) | {"format": 1, "calibration": {"risk": [[0.5, 0.01]]}}
    (tmp_path / "index.json").write_text(json.dumps(old))
    assert Manifest.read(tmp_path).calibration == Calibration()
    assert threshold(Calibration().leaf, Policy(max_error=0.3)) == NEVER


@pytest.fixture(scope="module")
def details(rubrika: Rubrika, market: Path, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("details")
    done = rubrika(
        *("classify", market / "test.parquet", "--index", index, "-o", folder / "result.parquet"),
        *("--details", folder / "details.parquet", "--max-error", 0.1),
    )
    assert done.code == 0, done.err
    return folder / "details.parquet"


def test_fewer_errors_allowed_is_less_decided(rubrika: Rubrika, details: Path, tmp_path: Path) -> None:
    counts = [
        rubrika("decide", details, "--max-error", error, "-o", tmp_path / f"{error}.parquet", "--json").json
        for error in (0.1, 0.03, 0.0)
    ]
    assert counts[0]["auto"] > counts[1].get("auto", 0) >= counts[2].get("auto", 0)
    assert len({count.get("new", 0) for count in counts}) == 1
    before, after = pd.read_parquet(details), pd.read_parquet(tmp_path / "0.1.parquet")
    assert (before["decision"] == after["decision"]).all()
    assert pq.read_schema(details).equals(pq.read_schema(tmp_path / "0.1.parquet"), check_metadata=True)


def test_only_details_can_be_decided_anew(rubrika: Rubrika, market: Path, tmp_path: Path) -> None:
    said = rubrika("decide", market / "test.parquet", "-o", tmp_path / "out.parquet")
    assert (said.code, "not written by `rubrika classify --details`" in said.err) == (1, True)
    assert list(tmp_path.iterdir()) == []
    assert "no such file" in rubrika("decide", tmp_path / "нет.parquet").err


def test_details_carry_confidence_at_every_level(details: Path) -> None:
    for row in pd.read_parquet(details).itertuples():
        leaf = row.levels[-1]["path"].split("->")[-1]
        assert leaf == row.predicted_category_name.split("->")[-1]
        assert row.levels[-1]["confidence"] == pytest.approx(row.confidence, abs=1e-6)
        shares = [level["share"] for level in row.levels]
        assert shares == sorted(shares, reverse=True)


def test_the_top_of_the_tree_is_surer_than_the_leaf(
    rubrika: Rubrika, market: Path, index: Path, details: Path, tmp_path: Path
) -> None:
    done = rubrika(
        *("classify", market / "test.parquet", "--index", index, "-o", tmp_path / "result.parquet", "--level", 1),
        *("--details", tmp_path / "top.parquet", "--max-error", 0.1),
    )
    assert done.code == 0, done.err
    leaf, top = pd.read_parquet(details), pd.read_parquet(tmp_path / "top.parquet")
    assert (top["decision"] == "auto").sum() > (leaf["decision"] == "auto").sum()


def test_tune_reports_on_products_it_did_not_choose_by_and_keeps_what_it_found(
    rubrika: Rubrika, market: Path, copy: Path, tmp_path: Path
) -> None:
    options = ("--index", copy, "--group-by", "group_key", "--holdout", 0.3, "--json")
    tuned = rubrika("tune", market / "train.parquet", *options)
    assert tuned.code == 0, tuned.err
    names = [part["name"] for part in tuned.json["parts"]]
    assert (names[0], names[-1]) == ("the nearest neighbour", "weighted vote, tuned")
    assert tuned.json["chosen_on"] + tuned.json["measured_on"] == pytest.approx(0.3 * 1_200, rel=0.2)
    manifest = Manifest.read(copy)
    assert (manifest.calibration.rows, manifest.calibration.how) == (1_350, "cross-fitted")
    assert manifest.vote.to_dict() == tuned.json["vote"]
    pd.read_parquet(market / "train.parquet").head(90).to_parquet(tmp_path / "few.parquet")
    few = rubrika("tune", tmp_path / "few.parquet", *options[:2])
    assert (few.code, "larger --holdout" in few.err) == (1, True)
