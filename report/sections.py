"""The sections of an evaluation's page, in their order; one that has nothing to say is left out."""

from collections.abc import Mapping

from rubrika.eval.methods import SECONDS
from rubrika.products.images import PictureFolder
from rubrika.report.charts import said_path
from rubrika.report.findings import Findings, Interval, Pair
from rubrika.report.markup import Markup, element
from rubrika.report.page import Figure, Section, figures, note, table
from rubrika.report.thumbnails import thumbnail

WORST = 20
# Of fewer products F1 says little.
FEWEST = 5
TAKEN_FOR = 3
METHOD_COLUMNS = (
    "method",
    "weighted F1",
    "95 % interval",
    "macro F1",
    "Rubrika minus this, 95 %",
    "seconds to train",
    "seconds per 10,000 products",
)


def sections(found: Findings, drawn: Mapping[str, Figure], pictures: PictureFolder | None) -> list[Section]:
    """The page, of charts that are already drawn; `pictures` are of the products that are shown as examples."""
    whole = [
        Section("How good it is", _summary(found)),
        Section("Compared with other methods", _methods(found, drawn)),
        Section("How many neighbours vote", _shown(drawn, "sweep")),
        Section("How far its confidence can be relied on", [*_decisions(found), *_shown(drawn, "reliability", "risk")]),
        Section("Small and large categories", _shown(drawn, "sizes")),
        Section(
            "What is taken for what", [*_shown(drawn, "confusion"), *(_pair(found, p, pictures) for p in found.pairs)]
        ),
        Section("The worst categories", _worst(found)),
        Section("A map of the embedding", _shown(drawn, "map")),
        Section("Time and memory", _stages(found)),
    ]
    return [section for section in whole if section.parts]


def _shown(drawn: Mapping[str, Figure], *names: str) -> list[str]:
    return [drawn[name].shown() for name in names if name in drawn]


def _summary(found: Findings) -> list[str]:
    evaluation = found.evaluation
    rows = [
        ("weighted F1", evaluation.metrics.weighted_f1, _said(evaluation.interval), "F1 of categories by their size"),
        ("macro F1", evaluation.metrics.macro_f1, _said(found.macro_interval), "every category counts the same"),
        (
            "hierarchical F1",
            evaluation.hierarchy.f1,
            _said(found.hierarchical_interval),
            "a near miss in the tree counts in part",
        ),
        ("accuracy", evaluation.metrics.accuracy, "", "the part of answers that are right"),
    ]
    levels = [(level, value) for level, value in enumerate(evaluation.hierarchy.levels, start=1)]
    return [
        figures([(name, f"{value:.4f}") for name, value, _, _ in rows]),
        table(["figure", "value", "95 % interval", "what it means"], rows, ".4f"),
        note("Intervals are of a bootstrap over the held-out products; what was held out together is drawn together."),
        table(["level of the tree", "accuracy"], levels, ".4f"),
    ]


def _methods(found: Findings, drawn: Mapping[str, Figure]) -> list[str]:
    if not found.evaluation.methods:
        return []
    rows = [
        (
            each.name,
            f"{each.weighted_f1:.4f}",
            _said(each.interval),
            f"{each.macro_f1:.4f}",
            _said(each.difference),
            each.train_seconds,
            each.seconds_per_10k,
        )
        for each in found.evaluation.methods
    ]
    return [
        table(METHOD_COLUMNS, rows, ".1f"),
        note("All on the same split; the differences are of a paired bootstrap."),
        *([note(found.evaluation.validation.describe())] if found.evaluation.validation else []),
        note(SECONDS),
        *_shown(drawn, "loss", "learning"),
    ]


def _decisions(found: Findings) -> list[str]:
    decided = found.evaluation.selective_risk
    return [
        f"{decided.auto:.1%} of the products are decided automatically, and {decided.auto_error:.2%} of these are "
        f"wrong, where at most {decided.max_error:.2%} was asked for; {decided.review:.1%} go to a person, and "
        f"{decided.new:.1%} look like no known category."
    ]


def _pair(found: Findings, pair: Pair, pictures: PictureFolder | None) -> Markup:
    """A pair of categories, and products that were taken wrongly."""
    true, said = said_path(found, pair.category_id), said_path(found, pair.taken_for)
    count = f"{pair.count:,} of {pair.products:,}"
    products = [
        element(
            "li",
            thumbnail(pictures, example.product_id),
            example.title,
            element("div", f"{example.confidence:.0%} sure, id {example.product_id}", class_="note"),
        )
        for example in pair.examples
    ]
    head = element("p", element("b", true), " taken for ", element("b", said), f": {count}")
    return element("div", head, element("ul", *products, class_="products"), class_="pair")


def _worst(found: Findings) -> list[str]:
    enough = [score for score in found.scores if score.products >= FEWEST] or found.scores
    wrong = [score for score in enough if score.f1 < 1]
    if not wrong:
        return []
    worst = sorted(wrong, key=lambda score: (score.f1, -score.products, score.category_id))[:WORST]
    rows = [
        (
            said_path(found, score.category_id),
            score.f1,
            score.products,
            score.learned,
            "; ".join(f"{said_path(found, other)} ({count:,})" for other, count in score.taken_for[:TAKEN_FOR]),
        )
        for score in worst
    ]
    return [
        table(["category", "F1", "held out", "learned from", "taken for"], rows, ".3f"),
        note(
            f"The lowest F1 among categories with {FEWEST} held-out products or more; all of them are in report.json."
        ),
    ]


def _stages(found: Findings) -> list[str]:
    if not found.stages:
        return []
    rows = [(stage.name, stage.seconds, stage.peak_gb) for stage in found.stages]
    return [
        table(["stage", "seconds", "peak memory, GB"], rows),
        note("Memory is that of this process at its peak within the stage; nothing else here differs from run to run."),
    ]


def _said(interval: Interval | None) -> str:
    return f"{interval[0]:.4f} … {interval[1]:.4f}" if interval else ""
