"""The report of an evaluation: right numbers, a page that needs nothing else, and that a real browser shows."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from browser import colours, needs_browser, opened
from conftest import Run
from matplotlib.figure import Figure
from PIL import Image

from rubrika.eval.baselines import Epoch
from rubrika.eval.evaluate import Answers, Evaluation, Sweep
from rubrika.eval.heldout import Samples, Timer
from rubrika.eval.methods import MethodResult
from rubrika.eval.metrics import (
    SelectiveRisk,
    by_size,
    confusion,
    hierarchical_f1_interval,
    hierarchy_of,
    macro_f1_interval,
    metrics_of,
    mistakes,
    reliability,
    risk,
    scores_of,
)
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category, Kept, Product
from rubrika.products.split import Split
from rubrika.report.charts import Chart, palette
from rubrika.report.report import charts_of, write_report
from rubrika.report.study import ReportData, lay_out, study
from rubrika.retrieve.tree import Tree

PLOTS = ("sweep", "reliability", "risk", "sizes", "confusion", "map")
SNEAKERS, SHOES, CASES = 1, 2, 3
TREE = Tree(
    [
        Category(SNEAKERS, "Все категории->Обувь->Кроссовки"),
        Category(SHOES, "Все категории->Обувь->Туфли"),
        Category(CASES, "Все категории->Электроника->Чехлы"),
    ]
)
TRUTH = np.array([SNEAKERS] * 12 + [SHOES] * 10 + [CASES] * 8)
PREDICTED = np.array([SNEAKERS] * 9 + [SHOES] * 3 + [SHOES] * 9 + [SNEAKERS] + [CASES] * 8)
SURE = np.where(TRUTH == PREDICTED, 0.9, 0.6).astype(np.float32)
GROUPS = np.arange(30) // 2


def found(title: str = "кроссовки", methods: tuple[MethodResult, ...] = (), tree: Tree = TREE) -> ReportData:
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float16)
    samples = Samples(list(range(100, 130)), [title] * 30, np.full(30, 7), np.arange(30), vectors)
    evaluation = Evaluation(
        metrics=metrics_of(TRUTH, PREDICTED),
        interval=(0.7, 0.95),
        hierarchy=hierarchy_of(TRUTH, PREDICTED, tree),
        selective_risk=SelectiveRisk(0.05, 0.02, 0.8, 0.15, 0.05, 0.01, 0.7),
        rows=30,
        classes=3,
        split=Split(np.ones(30, bool), "rows", 0, "0123456789abcdef"),
        top_k=10,
        sweep=[Sweep(k, 0.8, 0.85) for k in range(1, 21)],
        seconds={},
        methods=methods,
    )
    answers = Answers(TRUTH, PREDICTED, SURE, GROUPS, tree, samples)
    return study(evaluation, answers, Timer())


def points(chart: Chart) -> list[list[tuple[float, float]]]:
    """What a chart hands to matplotlib: the points of each line."""
    axes = Figure().add_subplot()
    chart.plot(axes)
    return [[tuple(point) for point in line.get_xydata().tolist()] for line in axes.lines]


def written(folder: Path, data: ReportData, pictures: PictureFolder | None = None) -> str:
    folder.mkdir(exist_ok=True)
    products = Kept([Product(id, "кроссовки", "", row) for row, id in enumerate(range(100, 130), 1)])
    return write_report(folder, data, Timer(), products, pictures).read_text(encoding="utf-8")


def test_numbers_of_the_report_are_those_of_the_command(evaluated: Path) -> None:
    numbers = json.loads((evaluated / "report.json").read_text(encoding="utf-8"))
    said = json.loads((evaluated / "said.json").read_text(encoding="utf-8"))
    assert numbers["weighted_f1"] == pytest.approx(said["weighted_f1"], abs=1e-6)
    assert numbers["split"] == said["split"]
    assert len(numbers["sweep"]) == 20
    assert numbers["macro_interval"][0] < numbers["macro_f1"] < numbers["macro_interval"][1]
    assert numbers["hierarchical_interval"][0] < numbers["hierarchical_f1"] < numbers["hierarchical_interval"][1]
    assert sum(score["products"] for score in numbers["scores"]) == numbers["rows"]
    assert len(numbers["map"]["spots"]) == numbers["rows"]


def test_every_stage_has_its_time_and_memory(evaluated: Path) -> None:
    stages = json.loads((evaluated / "report.json").read_text(encoding="utf-8"))["stages"]
    names = ["read labels", "learn and ingest", "classify", "vote and measure", "study the mistakes"]
    assert [stage["name"] for stage in stages] == [*names, "map the embedding", "draw the report"]
    assert all(stage["seconds"] >= 0 and 0.05 < stage["peak_gb"] < 50 for stage in stages)


def test_every_plot_is_a_picture_too(evaluated: Path) -> None:
    for name in PLOTS:
        with Image.open(evaluated / f"{name}.png") as image:
            assert image.width == 1_280


def test_the_page_says_the_split_and_needs_nothing_else(evaluated: Path) -> None:
    page = (evaluated / "report.html").read_text(encoding="utf-8")
    split = json.loads((evaluated / "said.json").read_text(encoding="utf-8"))["split"]
    assert split["hash"] in page
    assert len(page) < 5_000_000
    links = set(re.findall(r'(?:src|href)="([^"]*)', page))
    # What begins with # is in the page itself.
    assert {link for link in links if not link.startswith(("data:", "#"))} == set()
    assert set(re.findall(r"https?://[^\"' ]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "<script" not in page


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_every_plot_and_complains_of_nothing(evaluated: Path, tmp_path: Path, dark: bool) -> None:
    shown = palette(dark)
    seen = opened(evaluated / "report.html", tmp_path, dark)
    assert seen.console == []
    assert re.findall(r'<figure id="(\w+)"><svg', seen.document) == list(PLOTS)
    assert "#{:02x}{:02x}{:02x}".format(*seen.screen.getpixel((1, 1))) == shown["surface"]
    assert {shown[name] for name in ("ink", "c1", "c2", "c3")} <= colours(seen.screen)


@needs_browser
def test_a_browser_would_say_what_a_page_may_not_do(tmp_path: Path) -> None:
    page = written(tmp_path / "report", found())
    (tmp_path / "bad.html").write_text(page.replace("</main>", "<script>1</script></main>"), encoding="utf-8")
    assert "Content Security Policy" in opened(tmp_path / "bad.html", tmp_path).console[0]


def test_the_same_findings_give_the_same_bytes_but_for_the_stages(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    pages = [written(folder, found()) for folder in (one, two)]
    assert len({re.sub("<h2>Time and memory.*", "", page, flags=re.DOTALL) for page in pages}) == 1
    numbers = [json.loads((folder / "report.json").read_bytes()) for folder in (one, two)]
    assert all(each.pop("stages") for each in numbers)
    assert numbers[0] == numbers[1]
    for plot in PLOTS:
        assert (one / f"{plot}.png").read_bytes() == (two / f"{plot}.png").read_bytes()


def test_pictures_of_examples_are_part_of_the_page(tmp_path: Path) -> None:
    for product_id in (109, 110):
        Image.new("RGB", (400, 200), "red").save(tmp_path / f"{product_id}.jpg")
    (tmp_path / "111.jpg").write_bytes(b"not a picture")
    page = written(tmp_path / "report", found(), PictureFolder.scan(tmp_path))
    assert page.count('<img src="data:image/webp;base64,') == 2
    assert 'width="96" height="48"' in page


def test_other_methods_are_compared_when_there_are_any(tmp_path: Path) -> None:
    assert "Compared with other methods" not in written(tmp_path / "report", found())
    method = MethodResult("TF-IDF + linear SVM", 0.81, (0.7, 0.9), 0.78, (0.01, 0.04), 12.5, 3.25)
    page = written(tmp_path / "report", found(methods=(method,)))
    assert "Compared with other methods" in page
    assert "0.0100 … 0.0400" in page
    assert "12.5" in page
    assert not (tmp_path / "report" / "loss.png").exists()


def test_an_mlp_shows_how_it_learned(tmp_path: Path) -> None:
    curve = (Epoch(2.0, 0.5), Epoch(1.0, 0.75), Epoch(0.5, 0.7))
    method = MethodResult("MLP on text", 0.81, (0.7, 0.9), 0.78, curve=curve)
    charts = {chart.name: chart for chart in charts_of(found(methods=(method,)))}
    assert ">epoch<" in charts["loss"].svg()
    assert points(charts["learning"]) == [[(1, 0.5), (2, 0.75), (3, 0.7)]]


def test_titles_cannot_do_harm(tmp_path: Path) -> None:
    page = written(tmp_path / "report", found('<img src="x" onerror="alert(1)">'))
    assert "<img" not in page
    assert '<img src="x" onerror="alert(1)">' in unescape(page)


def test_categories_cannot_do_harm(tmp_path: Path) -> None:
    sly = "<script>alert(1)</script>", "\"&'", "$x$\x00"
    names = ["Обувь->" + sly[0], "Обувь->" + sly[1], sly[2] + "->Чехлы"]
    tree = Tree([Category(number, f"Все категории->{name}") for number, name in enumerate(names, 1)])
    page = written(tmp_path / "report", found(tree=tree))
    assert not re.search("<script|\x00", page)
    texts = [unescape(text) for text in re.findall("<text[^>]*>([^<]*)</text>", page)]
    assert {f"{sly[0]}  1", f"{sly[1]}  2"} <= set(texts)
    assert "$x$" in texts


def test_charts_draw_the_numbers_of_the_report() -> None:
    data = found()
    charts = {chart.name: chart for chart in charts_of(data)}
    assert points(charts["sweep"]) == [[(k, 0.85) for k in range(1, 21)], [(k, 0.8) for k in range(1, 21)]]
    curve, allowed = points(charts["risk"])
    assert curve == [(point.coverage, point.error) for point in data.risk]
    assert allowed == [(0, 0.02), (1, 0.02)]
    # The bin of 4 predictions is too small to be drawn.
    assert points(charts["reliability"])[0] == [(pytest.approx(0.9), 1.0)]
    map_points = {point for group in points(charts["map"]) for point in group}
    assert map_points == {(spot["x"], spot["y"]) for spot in data.map["spots"]}


def test_a_product_on_the_map_has_its_own_title() -> None:
    data = found()
    spots = [spot | {"title": f"товар <{spot['product_id']}>"} for spot in data.map["spots"]]
    chart = charts_of(replace(data, map=data.map | {"spots": spots}))[-1]
    shown = re.findall(r'<use [^>]* x="([^"]*)"[^>]*><title>([^<]*)</title></use>', chart.svg())
    across = {unescape(title).split("\n")[0]: float(x) for x, title in shown}
    assert len(across) == len(spots)
    ordered = sorted(spots, key=lambda spot: spot["x"])
    assert sorted(across, key=lambda title: across[title]) == [spot["title"] for spot in ordered]


def test_a_report_without_mistakes_leaves_those_sections_out(tmp_path: Path) -> None:
    data = found()
    perfect = [replace(score, f1=1.0) for score in data.scores]
    page = written(tmp_path / "report", replace(data, pairs=[], scores=perfect))
    assert "The worst categories" not in page


def test_a_report_that_cannot_be_written_is_known_before_the_work(
    rubrika: Callable[..., Run], market: Path, tmp_path: Path
) -> None:
    (tmp_path / "report").write_text("a file")
    done = rubrika("evaluate", market / "train.parquet", "--report", tmp_path / "report")
    assert (done.code, done.out) == (1, "")
    assert "cannot be written" in done.err
    assert "Traceback" not in done.err


def test_f1_of_each_category_and_what_it_is_taken_for() -> None:
    sneakers, shoes, cases = scores_of(TRUTH, PREDICTED, np.full(30, 7))
    assert (sneakers.products, sneakers.predicted, sneakers.right) == (12, 10, 9)
    assert sneakers.f1 == pytest.approx(2 * 9 / 22)
    assert sneakers.taken_for == ((SHOES, 3),)
    assert shoes.taken_for == ((SNEAKERS, 1),)
    assert (cases.f1, cases.taken_for) == (1.0, ())
    assert np.mean([sneakers.f1, shoes.f1, cases.f1]) == pytest.approx(metrics_of(TRUTH, PREDICTED).macro_f1)


def test_categories_of_like_size_are_taken_together() -> None:
    learned = np.where(TRUTH == SNEAKERS, 600, np.where(TRUTH == SHOES, 3, 0))
    sizes = by_size(scores_of(TRUTH, PREDICTED, learned))
    assert [(size.name, size.categories, size.products) for size in sizes] == [
        ("0", 1, 8),
        ("1–4", 1, 10),
        ("500+", 1, 12),
    ]


def test_the_most_frequent_mistakes_come_first() -> None:
    first, second = mistakes(TRUTH, PREDICTED, SURE, 5)
    assert (first.category_id, first.taken_for, first.count, first.products) == (SNEAKERS, SHOES, 3, 12)
    assert first.rows == (9, 10, 11)
    assert second.rows == (21,)
    assert mistakes(TRUTH, TRUTH, SURE, 5) == []
    assert confusion(TRUTH, PREDICTED, [SHOES, SNEAKERS]) == [[0, 1], [3, 0]]


def test_curves_of_confidence() -> None:
    right = TRUTH == PREDICTED
    low, high = reliability(SURE, right)
    assert (low.accuracy, low.products, high.accuracy, high.products) == (0.0, 4, 1.0, 26)
    first, last = risk(SURE, right)
    assert (first.coverage, first.error) == (pytest.approx(26 / 30), 0.0)
    assert (last.coverage, last.error) == (1.0, pytest.approx(4 / 30))


def test_intervals_hold_their_figures() -> None:
    low, high = macro_f1_interval(TRUTH, PREDICTED, GROUPS, 0)
    assert low < metrics_of(TRUTH, PREDICTED).macro_f1 < high
    low, high = hierarchical_f1_interval(TRUTH, PREDICTED, TREE, GROUPS, 0)
    assert low < hierarchy_of(TRUTH, PREDICTED, TREE).f1 < high
    assert macro_f1_interval(TRUTH, TRUTH, GROUPS, 0) == (1.0, 1.0)


def test_a_map_keeps_kinds_together_and_is_the_same_each_time() -> None:
    random = np.random.default_rng(0)
    kinds = np.repeat([0, 1], 40)
    vectors = (np.eye(16)[kinds] + random.normal(0, 0.05, (80, 16))).astype(np.float16)
    how, places = lay_out(vectors, 0)
    assert how.startswith("t-SNE")
    assert np.array_equal(places, lay_out(vectors, 0)[1])
    nearest = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(80, np.inf))
    assert (kinds[nearest.argmin(axis=1)] == kinds).all()


@pytest.mark.parametrize("count", [0, 1, 2, 19])
def test_few_products_are_mapped_by_their_principal_components(count: int) -> None:
    how, places = lay_out(np.eye(32, dtype=np.float16)[:count], 0)
    assert how == "principal components"
    assert places.shape == (count, 2)
