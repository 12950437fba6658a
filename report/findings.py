"""Everything that a report says, in plain frozen values: what report.json holds, and what the page is drawn from."""

from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from rubrika.eval.evaluate import Evaluation
from rubrika.eval.heldout import Stage
from rubrika.eval.metrics import Bin, Risk, Score, Size

Interval = tuple[float, float]

DIGITS = 6


@dataclass(frozen=True, slots=True)
class Example:
    """A held-out product: what it is called, and how sure the wrong answer was."""

    product_id: int
    title: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Pair:
    """A category that is taken for another: how many of its products, of how many, with examples."""

    category_id: int
    taken_for: int
    count: int
    products: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How many products of each category (rows) are taken for each other (columns)."""

    categories: tuple[int, ...]
    counts: list[list[int]]


@dataclass(frozen=True, slots=True)
class Spot:
    """A product on the map."""

    product_id: int
    title: str
    category_id: int
    group: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Map:
    """Held-out products on a plane, and how they were laid out."""

    how: str
    spots: list[Spot]


@dataclass(frozen=True)
class Findings:
    """What a report says.

    Args:
        evaluation: the figures.
        macro_interval: 95 % of macro F1.
        hierarchical_interval: 95 % of hierarchical F1.
        reliability: how often predictions are right, by their confidence.
        risk: how many errors the surest predictions hold.
        sizes: F1 by how many products a category was learned from.
        scores: of every category that was held out from, by id.
        pairs: the most frequent mistakes.
        confusion: among the categories of these.
        map: of the embedding.
        paths: of every category that is named here, by its id.
        stages: what everything took; all that differs from run to run is here.
    """

    evaluation: Evaluation
    macro_interval: Interval
    hierarchical_interval: Interval
    reliability: list[Bin]
    risk: list[Risk]
    sizes: list[Size]
    scores: list[Score]
    pairs: list[Pair]
    confusion: Confusion
    map: Map
    paths: dict[int, str]
    stages: tuple[Stage, ...] = ()

    def path(self, category: int) -> str:
        """The path of a category; where it has none, its id."""
        return self.paths.get(category, str(category))

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values, numbers rounded to six digits."""
        figures = self.evaluation.to_dict()
        # The stages say it, and more.
        del figures["seconds"]
        names = [field.name for field in fields(self) if field.name != "evaluation"]
        found: dict[str, Any] = _plain(figures | {name: getattr(self, name) for name in names})
        return found


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, float):
        return round(value, DIGITS)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
