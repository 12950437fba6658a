"""The charts of an evaluation: each takes the findings and gives a figure."""

from collections import Counter
from collections.abc import Callable

from rubrika.products.product import Category
from rubrika.products.text import shortened
from rubrika.report.axes import Axis, axis_over
from rubrika.report.findings import Findings
from rubrika.report.page import Figure
from rubrika.report.study import REST
from rubrika.report.svg import Series, columns, heat, lines, scatter

LONGEST_PATH = 60
# Of fewer products the part that is right is mostly chance.
FEWEST = 10


def charts(found: Findings) -> dict[str, Figure]:
    """All figures that the findings have something for, by name."""
    return {figure.name: figure for chart in _CHARTS if (figure := chart(found))}


def said_path(found: Findings, category: int) -> str:
    """A category for a person: its levels, without the root."""
    return " › ".join(Category(category, found.path(category)).levels)


def _loss(found: Findings) -> Figure | None:
    return _learning(found, "loss", "Loss of the MLPs", "mean loss", ".3g")


def _f1(found: Findings) -> Figure | None:
    return _learning(found, "learning", "Weighted F1 of the MLPs", "weighted F1", ".3f")


def _learning(found: Findings, name: str, title: str, said: str, form: str) -> Figure | None:
    """A line for each MLP, epoch by epoch."""
    curves = [method for method in found.evaluation.methods if method.curve]
    if not curves:
        return None
    series = [
        Series(
            method.name,
            list(range(1, len(method.curve) + 1)),
            [epoch.loss if name == "loss" else epoch.weighted_f1 for epoch in method.curve],
            colour=colour,
        )
        for colour, method in enumerate(curves, start=1)
    ]
    x = Axis("epoch", 1, max(len(one.x) for one in series))
    y = axis_over(said, [value for one in series for value in one.y], form)
    return Figure(
        name,
        title,
        lines(series, x, y, title),
        "While the number of epochs was being chosen, within the training part: the loss of products learned from, the "
        "F1 of products kept apart. The epoch with the best F1 was taken, and the whole training part then learned "
        "from for as many epochs.",
    )


def _sweep(found: Findings) -> Figure:
    points = found.evaluation.sweep
    top_k = [float(point.top_k) for point in points]
    series = [
        Series("weighted vote", top_k, [point.weighted for point in points], colour=1),
        Series("plain mode", top_k, [point.mode for point in points], colour=2),
    ]
    y = axis_over("weighted F1", [value for one in series for value in one.y], ".3f")
    svg = lines(series, Axis("top_k, how many neighbours vote", 1, top_k[-1]), y, "Weighted F1 by top_k")
    return Figure(
        "sweep",
        "Weighted F1 by top_k",
        svg,
        f"Weighted F1 when the best 1 … {len(points)} neighbours vote. The plain mode counts every neighbour as one "
        f"vote; the weighted vote counts near ones for more. In use: {found.evaluation.top_k}.",
    )


def _reliability(found: Findings) -> Figure:
    bins = [each for each in found.reliability if each.products >= FEWEST] or found.reliability
    titles = [f"{each.products:,} products: {each.confidence:.1%} sure, {each.accuracy:.1%} right" for each in bins]
    series = Series("", [each.confidence for each in bins], [each.accuracy for each in bins], titles)
    x, y = Axis("confidence", 0, 1, ".0%"), Axis("part that is right", 0, 1, ".0%")
    error = found.evaluation.selective_risk.calibration_error
    return Figure(
        "reliability",
        "Reliability",
        lines([series], x, y, "Accuracy by confidence", diagonal=True),
        f"How often answers are right, by how sure they say they are; on the dashed line they would say it exactly. "
        f"They are off by {error:.4f} on average (expected calibration error). Where fewer than {FEWEST} "
        f"answers are that sure, nothing is drawn.",
    )


def _risk(found: Findings) -> Figure:
    points, decided = found.risk, found.evaluation.selective_risk
    most = max(decided.max_error, *(point.error for point in points))
    series = [
        Series("errors", [point.coverage for point in points], [point.error for point in points]),
        Series("asked for", [0, 1], [decided.max_error] * 2, colour=2),
    ]
    x, y = (
        Axis("coverage: the surest part of the answers", 0, 1, ".0%"),
        axis_over("part that is wrong", [0, most], ".1%"),
    )
    return Figure(
        "risk",
        "Risk and coverage",
        lines(series, x, y, "Errors among the surest answers"),
        f"When only the surest answers are taken, this part of them is wrong. With at most {decided.max_error:.1%} "
        f"wrong, {decided.coverage:.1%} of the answers could be taken without a look.",
    )


def _sizes(found: Findings) -> Figure:
    sizes = found.sizes
    titles = [f"{each.categories:,} categories, {each.products:,} held-out products: {each.f1:.4f}" for each in sizes]
    names, label = [each.name for each in sizes], "products that a category was learned from"
    svg = columns(names, [each.f1 for each in sizes], label, Axis("mean F1", 0, 1, ".2f"), titles)
    counts = ", ".join(f"{each.name}: {each.categories:,}" for each in sizes)
    return Figure(
        "sizes", "F1 by category size", svg, f"The mean F1 of categories of like size. Categories in each: {counts}."
    )


def _confusion(found: Findings) -> Figure | None:
    known = found.confusion
    if not known.categories:
        return None
    names = _leaves([said_path(found, category).split(" › ") for category in known.categories])
    return Figure(
        "confusion",
        "Confusion",
        heat(names, names, known.counts, "Confusion of the worst pairs"),
        "How many products of a category (row) are taken for another (column, by the number of its row). Right answers "
        "are left out.",
    )


def _leaves(paths: list[list[str]]) -> list[str]:
    """The last names of paths, with the one above where several are alike."""
    alike = Counter(path[-1] for path in paths)
    return [shortened(" · ".join(path[-2:] if alike[path[-1]] > 1 else path[-1:]), LONGEST_PATH) for path in paths]


def _map(found: Findings) -> Figure | None:
    spots = found.map.spots
    if not spots:
        return None
    sizes: dict[str, int] = {}
    for spot in spots:
        sizes[spot.group] = sizes.get(spot.group, 0) + 1
    named = sorted((name for name in sizes if name != REST), key=lambda name: (-sizes[name], name))
    groups = []
    for colour, name in [*([(0, REST)] if REST in sizes else []), *enumerate(named, start=1)]:
        inside = [spot for spot in spots if spot.group == name]
        titles = [f"{spot.title}\n{said_path(found, spot.category_id)}" for spot in inside]
        said = name.replace("->", " › ")
        groups.append(Series(said, [spot.x for spot in inside], [spot.y for spot in inside], titles, colour))
    return Figure(
        "map",
        "Map of the embedding",
        scatter(groups, "Map of the embedding"),
        f"{len(spots):,} held-out products, near where their vectors are ({found.map.how}); coloured by the largest "
        f"branches of the tree. A product shows its title and category on hover.",
    )


_CHARTS: tuple[Callable[[Findings], Figure | None], ...] = (
    _loss,
    _f1,
    _sweep,
    _reliability,
    _risk,
    _sizes,
    _confusion,
    _map,
)
