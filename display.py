"""Everything that a person reads in a terminal: progress and notes on stderr, tables and sentences for stdout."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column, Table
from rich.text import Text

from rubrika.products.product import display_path

if TYPE_CHECKING:
    from rubrika.eval import evaluate, metrics, tune
    from rubrika.ingest import audit, naming
    from rubrika.ingest.check import Checked
    from rubrika.ingest.move import Moved
    from rubrika.ingest.relabel import Relabelled
    from rubrika.ingest.write import IngestReport
    from rubrika.progress import Advance
    from rubrika.retrieve import drift, explain, predictions, search
    from rubrika.retrieve.info import Info
    from rubrika.stats.lengths import Histogram, Summary
    from rubrika.stats.stats import Categories, Stats
    from rubrika.store.connection import Recall
    from rubrika.store.look import Look
    from rubrika.train.finetune import Finetuned

BAR_WIDTH = 20
BLOCKS = " ▁▂▃▄▅▆▇█"
QUANTILES = ("min", "median", "90 %", "95 %", "max")
# What the table of compared methods needs, where output is no terminal.
METHODS_WIDTH = 140
KEPT_SHOWN = 3  # labels that a person set, and rows have otherwise


class Terminal:
    """Shows stages of work on stderr: bars with rates in a terminal, one line a finished stage elsewhere."""

    def __init__(self, spelled: Callable[[str], str] = str) -> None:
        self._console, self._spelled = Console(stderr=True, highlight=False), spelled

    def note(self, text: str) -> None:
        """Say one thing on stderr."""
        # As it is: in a file name, brackets and colons mean nothing to rich.
        self._console.print(Text(self._spelled(text)), soft_wrap=True)

    @contextmanager
    def stage(self, title: str, total: int) -> Iterator["Advance"]:
        """As in progress.Progress."""
        started, done = time.monotonic(), 0
        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        with Bars(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(title, total=total)

            def advance(steps: int) -> None:
                nonlocal done
                done += steps
                bars.update(task, advance=steps)

            yield advance
        count, seconds = f"{done:,} in " if total > 1 else "", time.monotonic() - started
        self._console.print(Text(f"{title}: {count}{seconds:.1f} s", "dim"), soft_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def format_ingest(index: Path, report: "IngestReport", rejects: Path, kept: Path) -> str:
    """What became of the rows, with the first labels of a person that stay though their rows have others."""
    names = ("added", "updated", "relabelled", "unchanged", "kept", "rejected", "deleted")
    counts = [f"{report.read:,} read", *(f"{n:,} {name}" for name in names if (n := getattr(report, name)))]
    with_picture = "" if report.pictures is None else f"; {report.pictures:,} with a picture"
    renamed = f"; {report.renamed:,} categories were renamed" if report.renamed else ""
    lines = [
        f"{index}: {', '.join(counts)} in {report.seconds:.1f} s{with_picture}"
        f"{_unusable(report.unusable)}{renamed}{_rejected(report.rejected, rejects)}"
    ]
    for one in report.kept_labels[:KEPT_SHOWN]:
        stays = f"stays in {display_path(one.category_name)}, set by {one.labelled_by} on {one.labelled_at[:10]}"
        lines.append(f"product {one.product_id} {stays}; its row has {display_path(one.row_category_name)}")
    lines += [f"all rows with another category than a person set: {kept}"] if report.kept else []
    return "\n".join(lines)


def format_categories(result: "naming.Categories", index: Path) -> str:
    """All categories of an index, or what a table of them has changed."""
    empty = sum(not each.products for each in result.categories or ())
    counts = [f"{result.known:,} categories are known"]
    counts += [f"{count:,} {name}" for name in ("added", "renamed") if (count := getattr(result, name))]
    summary = f"{index}: {', '.join(counts)}{f', {empty:,} without a product' if empty else ''}"
    if result.categories is None:
        return summary
    rows = [(f"{one.products:,}", display_path(one.category_name), str(one.category_id)) for one in result.categories]
    return f"{_rendered(_table('', rows, ['products'], ['category'], ['id']))}\n{summary}"


def format_relabelled(index: Path, result: "Relabelled") -> str:
    """What became of corrected labels."""
    parts = [f"{result.relabelled:,} products got another category or name"]
    parts += [f"{result.verified:,} have the right one"] if result.verified else []
    parts += [f"{result.unchanged:,} had it from a person before"] if result.unchanged else []
    parts += [f"{result.unknown:,} categories to be moved have no products"] if result.unknown else []
    return f"{index}: {', '.join(parts)}"


def format_classify(report: "predictions.ClassifyReport") -> str:
    """How many products were classified, where the predictions are, and what they look like."""
    figures = report.figures
    counts = ", ".join(f"{count:,} {name}" for name, count in figures.decisions.items())
    lines = [
        f"{report.output}: {report.rows:,} products in {report.seconds:.1f} s"
        f"{_unusable(report.unusable_pictures or {})}{_rejected(report.rejected, report.rejects_output)}",
        f"{counts}; confidence 0 … 1: {_blocks(figures.confidence_histogram)}",
    ]
    seen = figures.median_similarity, figures.unseen_words
    nearest = [f"the nearest neighbour is {seen[0]:.3f} alike in the median"] if seen[0] is not None else []
    words = [f"{seen[1]:.1%} of the words are new to the encoder"] if seen[1] is not None else []
    return "\n".join([*lines, *(["; ".join(nearest + words)] if nearest + words else [])])


def _unusable(reasons: Mapping[str, int]) -> str:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return f"; unusable pictures: {counts}" if counts else ""


def _rejected(count: int, path: Path | None) -> str:
    return f"; {count:,} rows were rejected, see {path}" if count else ""


def format_checked(index: Path, result: "Checked", spelled: Callable[[str], str]) -> str:
    """What a server is, if it was looked at, and the problems of an index, with a few of the products that have them.

    `spelled` puts the names of options for those of parameters.
    """
    lines = _look(result.server, spelled) if result.server else []
    lines += [f"{index}: {result.products:,} products read"] if result.products or not lines else []
    lines += [f"{result.repaired:,} written anew"] if result.repaired else []
    shares = "more than this folder put there, which is no fault where others use the collection too"
    lines += [f"{result.others:,} {shares}"] if result.others else []
    problems = [f"{count:,} × {spelled(what)}" for what, count in sorted(result.problems.items())]
    lines += problems or ["no problems found"]
    examples = ", ".join(map(str, result.examples))
    return "\n".join([*lines, f"such as {examples}"] if examples else lines)


def _look(found: "Look", spelled: Callable[[str], str]) -> list[str]:
    rows = [(each.name, each.value, spelled(each.advice)) for each in found.findings]
    title = f"{found.url}, collection {found.collection}"
    return [_rendered(_table(title, rows, [], ["found", "what to do"], labels=[""]))]


def format_desk(url: str, waiting: Mapping[str, int]) -> str:
    """Where the desk is, and what waits there."""
    counts = ", ".join(f"{count:,} {name}" for name, count in waiting.items()) or "nothing"
    return f"{url}: {counts} waiting; Ctrl-C ends it"


def format_moved(result: "Moved", target: str, alias: str | None = None) -> str:
    """Where the points are now."""
    named = f"; it is what {alias} names now" if alias else ""
    counts = f"{result.total:,} products, {result.copied:,} copied, {result.skipped:,} were there already"
    return f"{target}: {counts}{named}"


def format_training(result: "Finetuned") -> str:
    """How good a fine-tuned model is."""
    return (
        f"{result.folder}: {result.steps:,} steps on {result.learnt:,} products; weighted F1 on {result.held_out:,} "
        f"held-out products: {result.f1:.4f} by the head, {result.neighbours_f1:.4f} by neighbours"
    )


def format_info(info: "Info") -> str:
    """What is in an index."""
    manifest = info.manifest
    table = Table(show_header=False, title=Text(str(info.folder), "table.title"), title_justify="left")
    table.add_row("products", f"{info.products:,}")
    table.add_row("categories", f"{info.categories:,}")
    if manifest.url:
        behind = f", an alias of {manifest.behind}" if manifest.behind else ""
        table.add_row("collection", Text(f"{manifest.collection}{behind}, on {manifest.url}"))
    for name, spec in manifest.vectors.items():
        pooled = f", {spec.pooling} pooling" if spec.pooling else ""
        share = info.margins.get(name)
        views = "" if share is None else f"; its views count {1 - share:g} (learned) to {share:g} (margin)"
        table.add_row(Text(f"vector {name}"), Text(f"{spec.encoder}, {spec.size} wide{pooled}{views}"))
    for name in manifest.vectors:
        table.add_row(Text(f"recall {name}"), _recall(manifest.recall.get(name)))
    table.add_row("vote", Text(_vote(manifest.vote)))
    for name, text in _trust(info):
        table.add_row(name, text)
    if stale := info.staleness:
        advice = "learning again pays: `rubrika learn`" if stale.learning_pays else "no need to learn again yet"
        counts = f"{stale.products:+,} products; {stale.unseen:,} in {stale.categories:,} new categories"
        table.add_row("since learning", f"{counts}; {advice}")
    if manifest.contents.products is None:
        table.add_row("unfinished", "the last change was interrupted: run it again")
    return "\n\n".join([_rendered(table), *([_drift(info.drift)] if info.drift else [])])


def _trust(info: "Info") -> Iterator[tuple[str, str]]:
    """How an index is calibrated, and how far that carries."""
    found, vote = info.manifest.calibration, info.manifest.vote
    if found.rows:
        asked = f"{found.rows:,} products in {found.groups:,} groups of near duplicates"
        yield "calibration", f"{found.how} on {asked}, {found.at}, when the index had {found.products:,}"
        parts = [f"{part:.1%} with at most {float(rate):.0%} wrong" for rate, part in info.automatic.items()]
        yield "automatic", ", ".join(parts)
    else:
        small = f"its {found.products:,} products were too few to measure" if found.at else "run `rubrika learn`"
        yield "calibration", f"built in, so nothing is automatic: {small}"
    yield "new categories", f"until they are learned, their products vote {_nearer(vote.unseen_reach)}"
    reach = "are only suggested" if vote.name_reach is None else f"vote {_nearer(vote.name_reach)}"
    yield "names", f"those of categories without products {reach}"


def _nearer(reach: float) -> str:
    return f"as if {1 + reach:g} times nearer" if reach else "as near as they are"


def _drift(found: "drift.Drift") -> str:
    """What has moved since the index was calibrated, and what to do."""
    rows = []
    for shift in found.shifts:
        means = f"{shift.then:.3f}", f"{shift.now:.3f}"
        rows.append((shift.figure, *means, f"{shift.psi:.3f}", f"{shift.chance:.3f}", shift.moved))
    title = f"{found.runs:,} runs since {found.since}, {found.products:,} products"
    columns = ["calibration", "now", "PSI", "by chance", "moved"]
    return "\n".join([title, _rendered(_table("", rows, columns, labels=["mean"])), *found.advice])


def format_neighbours(hits: "search.Neighbours") -> str:
    """Neighbours, nearest first."""
    rows = [(f"{hit.similarity:.3f}", display_path(hit.category_path), hit.title, str(hit.product_id)) for hit in hits]
    table = _rendered(_table("", rows, ["similarity"], ["category", "title"], ["id"]))
    return f"{table}\n{hits.page}" if hits.page else table


def format_evaluation(result: "evaluate.Evaluation") -> str:
    """The figures of an evaluation, the sweep over top_k, and the methods that were compared."""
    (low, high), live = result.interval, result.stored
    sweep = [(str(point.top_k), f"{point.mode:.4f}", f"{point.weighted:.4f}") for point in result.sweep]
    lines = [
        f"weighted F1  {result.metrics.weighted_f1:.4f}   (95 % interval {low:.4f} … {high:.4f})",
        f"macro F1     {result.metrics.macro_f1:.4f}",
        f"accuracy     {result.metrics.accuracy:.4f}",
        f"hierarchical {result.hierarchy.f1:.4f}",
        *_selective_risk(result.selective_risk),
        f"on {result.rows:,} {'held-out' if live is None else 'labelled'} products in {result.classes:,} categories"
        f"{'' if live is None else f', {live:,} of them stored'}, top_k = {result.top_k}",
        f"split: {result.split.how}, seed {result.split.seed}, hash {result.split.hash}",
        *([f"protocol: {result.protocol}, the plain mode votes"] if result.protocol else []),
    ]
    if sweep:
        lines += ["", _rendered(_table("weighted F1 by top_k", sweep, ["top_k", "plain mode", "weighted vote"]))]
    return "\n".join([*lines, *(_methods(result) if result.methods else [])])


def _methods(result: "evaluate.Evaluation") -> list[str]:
    from rubrika.eval.methods import SECONDS

    columns = ["weighted F1", "95 %", "macro F1", "Rubrika minus this, 95 %", "train, s", "10,000 products, s"]
    right = [Column(name, justify="right") for name in columns]
    table = Table("method", *right, title="methods on the same held-out products", title_justify="left")
    for each in result.methods:
        low, high = each.interval
        table.add_row(
            each.name,
            f"{each.weighted_f1:.4f}",
            f"{low:.4f} … {high:.4f}",
            f"{each.macro_f1:.4f}",
            f"{each.difference[0]:+.4f} … {each.difference[1]:+.4f}" if each.difference else "",
            f"{each.train_seconds:,.1f}",
            f"{each.seconds_per_10k:,.1f}",
        )
    chosen = [result.validation.describe()] if result.validation else []
    return ["", _rendered(table, METHODS_WIDTH), *chosen, SECONDS]


def format_tuning(result: "tune.Tuned") -> str:
    """What was chosen, and what each choice is worth."""
    title = f"on {result.measured_on:,} held-out products that had no part in the choice"
    parts = [(part.name, f"{part.metrics.weighted_f1:.4f}", f"{part.metrics.macro_f1:.4f}") for part in result.parts]
    table = _rendered(_table(title, parts, ["weighted F1", "macro F1"], labels=[""]))
    chosen = f"chosen on {result.chosen_on:,} others: {_vote(result.vote)}"
    return "\n".join([table, chosen, *_selective_risk(result.selective_risk)])


def _selective_risk(risk: "metrics.SelectiveRisk") -> list[str]:
    return [
        f"confidence   calibration error (ECE) {risk.calibration_error:.4f}",
        f"decided      {risk.auto:.1%} automatically, {risk.auto_error:.2%} of them wrong (maximum asked for: "
        f"{risk.max_error:.2%}); {risk.review:.1%} to review, {risk.new:.1%} flagged as a possible new category",
    ]


def _recall(how: "Recall | None") -> str:
    if how is None or how.reached is None:
        return "not measured: the server allows no exact search" if how else "not measured; the next ingest measures it"
    way = "by full vectors" if how.oversampling is None else f"oversampling {how.oversampling:g}"
    effort = f", a graph with search effort {how.hnsw_ef:,}" if how.hnsw_ef else ""
    return f"{how.reached:.4f} of the nearest 10 ({how.products:,} products, {way}{effort})"


def _vote(vote: Any) -> str:  # noqa: ANN401 - VoteSettings, whose module is not loaded for this alone
    weights = ", ".join(f"{name} × {weight:g}" for name, weight in vote.weights.items())
    return f"{vote.top_k} hits by {weights}, temperature {vote.temperature:g}"


def format_explanation(result: "explain.Explanation") -> str:
    """A prediction, its vote as bars, the neighbours that voted, and the words that mattered."""
    lines = [result.title or "a picture"]
    if result.labelled is not None:
        lines.append(f"stored as     {display_path(result.labelled)}")
    path = display_path(result.predicted.category_path)
    lines.append(f"predicted as  {path}, confidence {result.confidence:.2f} ({result.decision})")
    if result.sure and result.sure != result.levels[-1].path:
        confidence = next(level.confidence for level in result.levels if level.path == result.sure)
        lines.append(f"surely        somewhere under {display_path(result.sure)}, confidence {confidence:.2f}")
    shares = ((each.share, display_path(each.category_path)) for each in result.alternatives)
    levels = ((level.confidence, display_path(level.path)) for level in result.levels)
    rows = []
    for each in result.neighbours:
        texts = (each.vector, display_path(each.category_path), each.title)
        rows.append((f"{each.weight:.2f}", f"{each.similarity:.3f}", *texts, str(each.product_id)))
    table = _table("", rows, ["weight", "similarity"], ["vector", "category", "title"], ["id"])
    parts: list[RenderableType] = [Text("\n".join(lines)), "", _bars("the vote", shares), ""]
    parts += [_bars("confidence, level by level", levels), "", Text("the neighbours that voted", "italic"), table]
    if result.title:
        losses = ((word.share_lost, f"{word.word} ({word.similarity_lost:z.2f})") for word in result.words)
        title = "what the predicted category's share (and similarity) loses without a word"
        parts += ["", _bars(title, losses)]
    return _rendered(Group(*parts))


def _bars(title: str, rows: Iterable[tuple[float, str]]) -> Group:
    columns = Column(justify="right", no_wrap=True), Column(width=BAR_WIDTH), Column()
    table = Table(*columns, show_header=False, box=None)
    for value, name in rows:
        bar = Text("█" * round(abs(value) * BAR_WIDTH), style="green" if value > 0 else "red")
        table.add_row(f"{value:z.2f}", bar, Text(name))
    return Group(Text(title, style="italic"), table)


def format_audit(report: "audit.AuditReport") -> str:
    """The surest label issues, the categories confused most, and near duplicates at odds."""
    suspects = []
    for row in report.first_suspects:
        paths = (display_path(row["category_name"]), display_path(row["suggested_category_name"]))
        suspects.append((f"{row['confidence']:.2f}", row["title"] or "", *paths, str(row["product_id"])))
    texts = ["title", "labelled", "more like"]
    issues = _table("labels that are probably wrong", suspects, ["confidence"], texts, ["id"])
    confused = []
    for pair in report.confused:
        counts = (f"{pair.there + pair.back:,}", f"{pair.there:,}", f"{pair.back:,}")
        confused.append((*counts, display_path(pair.category_name), display_path(pair.other_category_name)))
    pairs = _table("pairs of categories confused most", confused, ["label issues", "→", "←"], texts[1:])
    near = _table("near duplicates with different categories", [], ["similarity"], ["title", "labelled"], ["id"])
    for row in report.first_duplicates:
        for half, similarity in (("", f"{row['similarity']:.3f}"), ("other_", "")):
            title, path = Text(row[f"{half}title"] or ""), Text(display_path(row[f"{half}category_name"]))
            near.add_row(similarity, title, path, str(row[f"{half}product_id"]))
        near.add_section()
    tables = [part for table in (issues, pairs, near) if table.row_count for part in (table, "")]
    summary = (
        f"{report.output} lists {report.suspects:,} of {report.products:,} labels, of all about {report.expected:,} "
        f"are expected to be wrong; {report.duplicates:,} pairs of near duplicates have different categories; "
        f"{report.seconds:.1f} s"
    )
    return f"{_rendered(Group(*tables))}\n\n{summary}" if tables else summary


def format_stats(stats: "Stats", report: Path | None = None) -> str:
    """What is in files of products."""
    tables = [_lengths(stats), _padding(stats), _duplicates(stats)]
    if stats.categories:
        tables[2:2] = _categories(stats.categories)
    if missing := {name: n for name, n in stats.empty.items() if n}:
        tables.append(_counts("empty fields", missing, stats.rows))
    if stats.pictures:
        pictures = {"usable": stats.pictures.usable, "missing": stats.pictures.missing} | stats.pictures.broken
        tables.append(_counts("pictures", pictures, stats.products))
    tables.append(_counts("scripts", {name: count for name, count in stats.scripts.items() if count}, stats.products))
    if stats.rejected:
        tables.append(_counts("rejected rows", stats.rejected, stats.rows))
    parts: list[RenderableType] = [part for table in tables for part in (table, "")]
    text = _rendered(Group(f"{stats.products:,} products in {stats.rows:,} rows", "", *parts))
    return f"{text}\n\n{report}: the same with charts" if report else text


def _lengths(stats: "Stats") -> Table:
    spreads = {"characters": stats.characters, stats.unit: stats.tokens}
    rows = [(name, *_quantiles(spread)) for name, spread in spreads.items()]
    table = _table("length of a text", rows, QUANTILES, labels=["in"])
    captions = [f"{name}, {_histogram(spread.histogram)}" for name, spread in spreads.items()]
    captions.append(f"{stats.truncated:.2%} have more than {stats.padding.limit} {stats.unit} ({stats.encoder})")
    if stats.beyond_learned:
        captions.append(f"of {stats.beyond_learned:.2%} the learned encoder reads the beginning only")
    return _captioned(table, *captions)


def _padding(stats: "Stats") -> Table:
    padding = stats.padding
    rows = [
        (f"every text padded to {padding.limit}", f"{padding.fixed:.1%}"),
        ("padded to the longest of a random batch", f"{padding.shuffled:.1%}"),
        ("sorted by length first", f"{padding.sorted:.1%}"),
    ]
    table = _table(f"padding of batches of {padding.batch_rows}", rows, ["tokens among positions"], labels=[""])
    return _captioned(table, f"sorting saves {padding.saved:.1%} of the work of random batches")


def _categories(found: "Categories") -> list[Table]:
    from rubrika.stats.stats import TAIL_BELOW

    rows = [("products of a category", *_quantiles(found.sizes))]
    depths = ", ".join(f"{count:,} with {depth}" for depth, count in found.depths.items())
    sizes = _captioned(
        _table(f"{found.count:,} categories", rows, QUANTILES, labels=[""]),
        f"1, 2–3, 4–7 and so on, {_histogram(found.sizes.histogram)}",
        f"{found.singletons:,} have one product",
        f"{found.tail:,} have fewer than {TAIL_BELOW}, together {found.tail_products:.1%} of the products",
        f"the largest tenth has {found.head_products:.1%} of the products",
        f"{found.top:,} at the top of the tree; by levels: {depths}",
    )
    largest = [(display_path(each.category_name), f"{each.products:,}") for each in found.largest]
    return [sizes, _table("the largest categories", largest, ["products"], labels=[""])]


def _duplicates(stats: "Stats") -> Table:
    rows = []
    groups = {"product_id": stats.same_id, "text": stats.same_text, "text, nearly": stats.near_text}
    for name, found in (groups | ({"group": stats.groups} if stats.groups else {})).items():
        conflict = "–" if found.at_odds is None else f"{found.at_odds:,}"
        counts = (found.groups, found.rows, found.surplus, found.largest)
        rows.append((name, *(f"{count:,}" for count in counts), conflict))
    columns = ["groups", "rows", "surplus", "largest", "in conflict"]
    table = _table("duplicates", rows, columns, labels=["the same"])
    return _captioned(table, "surplus: all but one of each group; in conflict: rows in groups of several categories")


def _counts(title: str, counts: Mapping[str, int], total: int) -> Table:
    rows = [(name, f"{count:,}", f"{count / total:.1%}") for name, count in counts.items()]
    return _table(title, rows, ["rows", "of all"], labels=[""])


def _quantiles(spread: "Summary") -> list[str]:
    return [f"{number:,}" for number in (spread.min, spread.median, spread.p90, spread.p95, spread.max)]


def _histogram(histogram: "Histogram") -> str:
    """A histogram as a line of blocks; any count above 0 shows."""
    return f"{histogram.edges[0]:,} … {histogram.edges[-1] - 1:,}: {_blocks(histogram.counts)}"


def _blocks(counts: Sequence[int]) -> str:
    top = max(*counts, 1)
    return "".join(BLOCKS[-(-count * (len(BLOCKS) - 1) // top)] for count in counts)


def _captioned(table: Table, *lines: str) -> Table:
    table.caption, table.caption_justify = Text("\n".join(lines)), "left"
    return table


def _table(
    title: str,
    rows: Iterable[Sequence[str]],
    figures: Sequence[str],
    texts: Sequence[str] = (),
    ids: Sequence[str] = (),
    labels: Sequence[str] = (),
) -> Table:
    """A table whose figures and ids are whole and whose texts share the width that is left."""
    table = Table(title=title or None, title_justify="left")
    whole: dict[str, Any] = {"justify": "right", "no_wrap": True}
    for names, style in ((labels, {}), (figures, whole), (texts, {"ratio": 1}), (ids, whole)):
        for name in names:
            table.add_column(name, **style)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _rendered(part: RenderableType, min_width: int = 0) -> str:
    """As text: coloured in a terminal only, and as wide as one; elsewhere at least `min_width` wide."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=max(console.width, min_width), highlight=False)
    with console.capture() as captured:
        console.print(part)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
