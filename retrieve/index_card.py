"""The card of an index: what is in it, how good it was found to be, and where that ends, for those it is given to."""

from collections.abc import Iterator
from pathlib import Path

from scipy.stats import beta

from rubrika import __version__
from rubrika.files import write_in_one_step
from rubrika.index.manifest import Fit
from rubrika.retrieve.info import Info

CARD = "CARD.md"


def write_card(info: Info) -> Path:
    """Write the card into the folder of the index, and return where it is."""
    path = info.folder / CARD
    write_in_one_step(path, card_of(info))
    return path


def card_of(info: Info) -> str:
    """The card; the same index gives the same text.

    Its intervals are Clopper and Pearson's (1934), of as many products as tell as much alone as those that were asked.
    """
    manifest, found = info.manifest, info.manifest.calibration
    parts = ["# An index of labelled products", f"Made by Rubrika {__version__}, format {manifest.format}.", "## Data"]
    parts.append(_table([("products", f"{info.products:,}"), ("categories", f"{info.categories:,}"), *_sources(info)]))
    parts += ["## Vectors", _table([(name, text) for name, text in _vectors(info)]), "## Vote"]
    weights = ", ".join(f"{name} {weight:g}" for name, weight in manifest.vote.weights.items())
    parts.append(
        f"The {manifest.vote.top_k} nearest products of each vector ({weights}), near ones more than far ones."
    )
    parts.append("## How good it is")
    if not found.rows:
        parts.append("Not measured: the index was too small. Nothing is decided automatically.")
        return "\n\n".join(parts) + "\n"
    asked = f"{found.rows:,} products in {found.groups:,} groups of near duplicates"
    parts.append(f"Measured on {asked}, which the encoders had not learned from ({found.how}), on {found.at}.")
    parts.append(_table([("right", _right(found.leaf)), *_automatic(info)]))
    parts += ["## Limits", "\n".join(f"- {limit}" for limit in _limits(info))]
    return "\n\n".join(parts) + "\n"


def _sources(info: Info) -> Iterator[tuple[str, str]]:
    names = [Path(source).name for source in info.manifest.contents.sources]
    if names:
        yield "files", ", ".join(names)
    if info.staleness:
        yield "since the encoder was learned", f"{info.staleness.products:+,} products"


def _vectors(info: Info) -> Iterator[tuple[str, str]]:
    for name, spec in info.manifest.vectors.items():
        recall = info.manifest.recall.get(name)
        reached = f", recall at 10 {recall.reached:.3f}" if recall and recall.reached is not None else ""
        yield name, f"{spec.encoder}, {spec.size} wide, SHA-256 {spec.sha256}{reached}"


def _right(fit: Fit) -> str:
    _, count, wrong = fit.curve[-1]
    n, e = count / fit.design, wrong / fit.design
    low = float(beta.ppf(0.025, n - e, e + 1)) if e < n else 0.0
    high = float(beta.ppf(0.975, n - e + 1, e)) if e else 1.0
    return f"{1 - wrong / count:.1%} (95 %: {low:.1%} … {high:.1%})"


def _automatic(info: Info) -> Iterator[tuple[str, str]]:
    for rate, part in info.automatic.items():
        yield f"automatic, at most {float(rate):.0%} wrong", f"{part:.1%}"


def _limits(info: Info) -> Iterator[str]:
    yield "The figures hold for products like those that were asked; `rubrika info --drift` says when others come."
    yield "The bounds on errors hold with a probability of 90 %, over what was drawn to measure them."
    yield "Labels were taken as they are; `rubrika audit` lists those that are probably wrong."
    if info.staleness and info.staleness.learning_pays:
        yield "It has changed much since its encoder was learned: `rubrika learn` would help."


def _table(rows: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])
