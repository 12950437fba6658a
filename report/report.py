"""Writes the report of an evaluation: report.html, report.json, and every chart as a PNG."""

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from rubrika.errors import InputError
from rubrika.eval.evaluate import Evaluation
from rubrika.eval.heldout import Timer
from rubrika.eval.methods import SECONDS
from rubrika.eval.metrics import Score
from rubrika.products.images import PictureError, PictureFolder, open_picture
from rubrika.products.product import Products
from rubrika.progress import Progress
from rubrika.report import charts as draw
from rubrika.report.charts import Chart, Points
from rubrika.report.study import OTHERS, ReportData, study

PAGE, NUMBERS = "report.html", "report.json"
# Of fewer predictions the share that is right is mostly chance.
MIN_BIN = 10
# Of fewer products F1 says little.
MIN_PRODUCTS = 5
WORST = 20
PERCENT = "{x:.0%}"
THUMBNAIL, QUALITY = 96, 70


def report_on(
    evaluation: Evaluation,
    folder: Path | None,
    timer: Timer,
    products: Products,
    pictures: PictureFolder | None,
    progress: Progress,
) -> None:
    """Write the report of an evaluation, if there is a folder for it, and say where its page is."""
    if folder and evaluation.answers:
        data = study(evaluation, evaluation.answers, timer)
        progress.note(f"report: {write_report(folder, data, timer, products, pictures)}")


def write_report(
    folder: Path,
    data: ReportData,
    timer: Timer,
    products: Products | None = None,
    pictures: PictureFolder | None = None,
) -> Path:
    """Write a report into a folder that `report_folder` returned, in place of an earlier one, and return its page.

    `data` is what it says, but for the stages, which `timer` knows; the `products` are read for their `pictures`.
    """
    with timer.stage("draw the report"):
        charts = charts_of(data)
        svgs = {chart.name: chart.svg() for chart in charts}
        files = {f"{chart.name}.png": chart.png() for chart in charts}
    data, evaluation = replace(data, stages=tuple(timer.stages)), data.evaluation
    shown = {example["product_id"] for pair in data.pairs for example in pair["examples"]}
    values = {
        "evaluation": evaluation,
        "method_notes": [evaluation.validation.describe(), SECONDS] if evaluation.validation else [SECONDS],
        "worst": worst(data.scores),
        "thumbnails": thumbnails(shown, products, pictures) if products and pictures else {},
    }
    limits = {"min_bin": MIN_BIN, "min_products": MIN_PRODUCTS}
    page = draw.render("report.html", svgs, title="Evaluation", data=data, **values, **limits)
    files[NUMBERS] = (json.dumps(data.to_dict(), ensure_ascii=False, indent=1) + "\n").encode()
    files[PAGE] = page.encode()
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written ({error.strerror}); choose another folder") from None
    return folder / PAGE


def worst(scores: list[Score]) -> list[Score]:
    """The categories with the lowest F1, of those with enough products where there are any."""
    enough = [score for score in scores if score.products >= MIN_PRODUCTS] or scores
    wrong = [score for score in enough if score.f1 < 1]
    return sorted(wrong, key=lambda score: (score.f1, -score.products, score.category_id))[:WORST]


def thumbnails(
    ids: Collection[int | str], products: Products, pictures: PictureFolder
) -> dict[int | str, dict[str, str | int]]:
    """The pictures of products as parts of the page, by id; of those whose first row has one that can be used."""
    first = dict[int | str, Path | bytes | None]()
    for batch in products if ids else ():
        for product in batch.products:
            if product.own_id in ids and product.own_id not in first:
                first[product.own_id] = pictures.find(product.own_id, product.image)
    drawn = {id: thumbnail(picture) for id, picture in first.items() if picture}
    return {id: picture for id, picture in drawn.items() if picture}


def thumbnail(found: Path | bytes) -> dict[str, str | int] | None:
    """A picture as a part of the page; None where it cannot be used."""
    try:
        picture = open_picture(found, THUMBNAIL)
    except PictureError:
        return None
    stream = BytesIO()
    picture.save(stream, "WEBP", quality=QUALITY)
    source = f"data:image/webp;base64,{b64encode(stream.getvalue()).decode()}"
    return {"source": source, "width": picture.width, "height": picture.height}


def charts_of(data: ReportData) -> list[Chart]:
    """All charts that there is something for."""
    evaluation = data.evaluation
    charts = []
    if curves := {method.name: method.curve for method in evaluation.methods if method.curve}:
        epochs = {name: range(1, len(curve) + 1) for name, curve in curves.items()}
        loss = {name: (epochs[name], [epoch.loss for epoch in curve]) for name, curve in curves.items()}
        f1 = {name: (epochs[name], [epoch.weighted_f1 for epoch in curve]) for name, curve in curves.items()}
        charts.append(_lines("loss", "Loss of the MLPs", loss, "epoch", "mean loss"))
        charts.append(_lines("learning", "Weighted F1 of the MLPs", f1, "epoch", "weighted F1"))
    top_k = [point.top_k for point in evaluation.sweep]
    sweep: dict[str, Points] = {
        "weighted vote": (top_k, [point.weighted for point in evaluation.sweep]),
        "plain mode": (top_k, [point.mode for point in evaluation.sweep]),
    }
    bins = [each for each in data.reliability if each.products >= MIN_BIN] or data.reliability
    reliability: dict[str, Points] = {
        "predictions": ([each.confidence for each in bins], [each.accuracy for each in bins]),
        "perfectly calibrated": ([0, 1], [0, 1]),
    }
    risk: dict[str, Points] = {
        "errors": ([point.coverage for point in data.risk], [point.error for point in data.risk]),
        "allowed": ([0, 1], [evaluation.selective_risk.max_error] * 2),
    }
    confidence = ("confidence", "share that is right", (PERCENT, PERCENT), "perfectly calibrated")
    coverage = ("coverage: the surest share of the predictions", "share that is wrong", (PERCENT, "{x:.1%}"), "allowed")
    names, values = [size.name for size in data.sizes], [size.f1 for size in data.sizes]
    x = "products that a category was learned from"
    if evaluation.sweep:
        charts.append(_lines("sweep", "Weighted F1 by top_k", sweep, "top_k, how many neighbours vote", "weighted F1"))
    charts += [
        _lines("reliability", "Accuracy by confidence", reliability, *confidence),
        _lines("risk", "Errors among the surest predictions", risk, *coverage),
        Chart("sizes", "F1 by category size", lambda axes: draw.plot_columns(axes, names, values, x, "mean F1")),
    ]
    if data.confusion["categories"]:
        charts.append(_confusion(data))
    return [*charts, _map(data)] if data.map["spots"] else charts


def _lines(name: str, title: str, lines: Mapping[str, Points], *labels: Any) -> Chart:  # noqa: ANN401
    return Chart(name, title, lambda axes: draw.plot_lines(axes, lines, *labels))


def _confusion(data: ReportData) -> Chart:
    paths = [data.levels(category) for category in data.confusion["categories"]]
    # Leaves, with the name above where several are alike.
    alike = Counter(path[-1] for path in paths)
    names = [" · ".join(path[-2:] if alike[path[-1]] > 1 else path[-1:]) for path in paths]
    title, height = "Confusion of the worst pairs", 0.5 + 0.26 * len(names)
    return Chart("confusion", title, lambda axes: draw.plot_cells(axes, names, data.confusion["counts"]), height)


def _map(data: ReportData) -> Chart:
    sizes = Counter(spot["group"] for spot in data.map["spots"])
    # The others come first, so that they are drawn below.
    names = sorted(sizes, key=lambda name: (name != OTHERS, -sizes[name], name))
    spots = sorted(data.map["spots"], key=lambda spot: names.index(spot["group"]))
    groups: dict[str, Points] = {}
    for name in names:
        group = [spot for spot in spots if spot["group"] == name]
        groups[name.replace("->", " › ")] = [spot["x"] for spot in group], [spot["y"] for spot in group]
    colours = [draw.LIGHT["line"], *draw.SERIES] if OTHERS in sizes else draw.SERIES
    hover = [f"{spot['title']}\n{data.label(spot['category_id'])}" for spot in spots]
    title = "Map of the embedding"
    return Chart("map", title, lambda axes: draw.plot_scatter(axes, groups, colours[: len(names)]), draw.WIDTH, hover)
