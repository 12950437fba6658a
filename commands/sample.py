"""`rubrika sample` writes the made-up marketplace."""

from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import AsJson, Seed, answer


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")],
    products: Annotated[int, typer.Option("--products", min=300, max=1_000_000, help="How many products.")] = 3_000,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Write a small made-up marketplace: train.parquet, test.parquet, and drawn pictures."""
    from dataclasses import asdict

    from rubrika.sample import write_sample

    summary = write_sample(folder, seed=seed, products=products)
    answer(
        asdict(summary),
        as_json,
        f"{folder}: {summary.train:,} labelled products, {summary.test:,} to classify, "
        f"{summary.categories} categories, {summary.pictures:,} pictures",
    )
