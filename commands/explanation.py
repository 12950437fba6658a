"""How an explanation looks to a person: the prediction, the vote as bars, the neighbours, the words that mattered."""

from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rubrika.products.product import display_path
from rubrika.retrieve.explain import Explanation

BAR = 20


def explanation_text(found: Explanation) -> str:
    """All of it as text: coloured in a terminal only, and as wide as one."""
    parts: list[RenderableType] = [_prediction(found), "", _vote(found), "", _neighbours(found)]
    if found.title:
        parts += ["", _words(found)]
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(Group(*parts))
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _prediction(found: Explanation) -> Text:
    lines = [found.title or "a picture"]
    if found.labelled is not None:
        lines.append(f"stored as     {_shown(found.labelled)}")
    path = _shown(found.predicted.category_path)
    lines.append(f"predicted as  {path}, confidence {found.confidence:.2f} ({found.decision})")
    if found.sure and found.sure != found.levels[-1].path:
        confidence = next(level.confidence for level in found.levels if level.path == found.sure)
        lines.append(f"surely        somewhere under {_shown(found.sure)}, confidence {confidence:.2f}")
    return Text("\n".join(lines))


def _vote(found: Explanation) -> Group:
    shares = ((each.share, _shown(each.category_path)) for each in found.alternatives)
    levels = ((level.confidence, _shown(level.path)) for level in found.levels)
    return Group(_bars("the vote", shares), "", _bars("confidence, level by level", levels))


def _words(found: Explanation) -> Group:
    losses = ((word.share_lost, f"{word.word} ({word.similarity_lost:z.2f})") for word in found.words)
    return _bars("what the predicted category's share (and similarity) loses without a word", losses)


def _bars(title: str, rows: Iterable[tuple[float, str]]) -> Group:
    table = Table(show_header=False, box=None)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(width=BAR)
    table.add_column()
    for value, name in rows:
        bar = Text("█" * round(abs(value) * BAR), style="green" if value > 0 else "red")
        table.add_row(f"{value:z.2f}", bar, Text(name))
    return Group(_heading(title), table)


def _neighbours(found: Explanation) -> Group:
    table = Table()
    for name in ("weight", "similarity"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("vector", no_wrap=True)
    table.add_column("category", ratio=1)
    table.add_column("title", ratio=1)
    table.add_column("id", justify="right", no_wrap=True)
    for each in found.neighbours:
        figures = (f"{each.weight:.2f}", f"{each.similarity:.3f}", each.vector)
        table.add_row(*figures, Text(_shown(each.category_path)), Text(each.title), str(each.product_id))
    return Group(_heading("the neighbours that voted"), table)


def _heading(title: str) -> Text:
    return Text(title, style="italic")


def _shown(path: str) -> str:
    return display_path(path)
