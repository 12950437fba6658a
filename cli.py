"""The command line: parse, call, print. Nothing else in Rubrika prints; heavy imports wait inside the commands."""

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from rubrika import __version__
from rubrika.commands import moving, training
from rubrika.commands.options import (
    CACHE,
    INDEX,
    AsJson,
    Backend,
    Cache,
    Collection,
    File,
    Files,
    Images,
    ImageSpec,
    IndexFolder,
    Seed,
    TextSpec,
    TopK,
    Url,
    Vote,
    answer,
    api_key,
    choice_of,
    pictures_of,
    server_of,
    set_aside_said,
    unusable_said,
)
from rubrika.errors import RubrikaError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tells which category a product belongs to, by the labelled products most like it.",
)


def main() -> None:
    """Run a command; a failure that Rubrika explains is one line on stderr and exit code 1."""
    # Threads that wait for one another by spinning take a shared machine's cores from whoever has work to do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except RubrikaError as error:
        print(f"rubrika: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


@app.command()
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


@app.command()
def ingest(
    files: Files,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    images: Images = None,
    image_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where that folder is served, for the web UI.")
    ] = None,
    text_encoder: TextSpec = None,
    image_encoder: ImageSpec = None,
    backend: Backend = "torch",
    vote: Vote = None,
    cache: Cache = CACHE,
    rejects: Annotated[
        Path | None, typer.Option(help="Where rows set aside go, with their reasons; beside the index by default.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at the first row that would be set aside.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put labelled products into the index, learning its encoder first when it is new."""
    from rubrika.ingest.ingest import ingest as run
    from rubrika.ingest.rejects import write_rejects
    from rubrika.products.parquet import Reader
    from rubrika.terminal import Terminal

    terminal = Terminal()
    choice = choice_of(text_encoder, image_encoder, backend, vote, images, index, terminal.note)
    report = run(
        index,
        Reader(files, labelled=True),
        pictures=pictures_of(images),
        image_url=image_url,
        choice=choice,
        cache=cache.expanduser(),
        server=server_of(url, collection),
        api_key=api_key(),
        strict=strict,
        progress=terminal,
    )
    aside = rejects or index.with_name(f"{index.name}.rejects.parquet")
    if report.rejects:
        write_rejects(report.rejects, aside)
    counts = {
        name: getattr(report, name) for name in ("read", "added", "updated", "relabelled", "unchanged", "rejected")
    }
    lines = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count or name == "read")
    pictures = {"pictures": report.pictures, "unusable_pictures": dict(report.unusable)} if images else {}
    answer(
        counts | pictures | {"seconds": report.seconds, "rejects": str(aside) if report.rejects else None},
        as_json,
        f"{index}: {lines} in {report.seconds:.1f} s"
        + (f"; {report.pictures:,} with a picture" if images else "")
        + unusable_said(report.unusable)
        + set_aside_said(len(report.rejects), aside),
    )


@app.command()
def classify(
    file: File,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the predictions go.")] = Path("result.parquet"),
    details: Annotated[Path | None, typer.Option(help="Where confidence, alternatives and neighbours go.")] = None,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    images: Images = None,
    cache: Cache = CACHE,
    top_k: TopK = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Where unreadable rows go, beside the output by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the category of every product of a parquet file."""
    import time

    from rubrika.index.index import Index
    from rubrika.ingest.rejects import write_rejects
    from rubrika.products.parquet import Reader
    from rubrika.retrieve.classify import classify as run
    from rubrika.retrieve.names import CategoryNames
    from rubrika.retrieve.output import Output
    from rubrika.terminal import Terminal

    started = time.monotonic()
    reader = Reader([file], labelled=False)
    reader.check()
    unreadable, rows, unusable = [], 0, Counter[str]()
    with (
        Index.open(index, cache.expanduser(), server_of(url, collection), api_key()) as opened,
        Output(output, details, CategoryNames(opened.store), reader.id_type()) as out,
        Terminal().stage("classifying", len(reader)) as advance,
    ):
        for classified in run(opened, reader, pictures_of(images), top_k):
            out.write(classified)
            unreadable += classified.batch.rejects
            unusable.update(classified.failures)
            rows += classified.batch.rows
            advance(classified.batch.rows)
    aside = rejects or output.with_name(f"{output.stem}.rejects.parquet")
    if unreadable:
        write_rejects(unreadable, aside)
    seconds = round(time.monotonic() - started, 3)
    answer(
        {"rows": rows, "rejected": len(unreadable), "seconds": seconds, "output": str(output)}
        | ({"unusable_pictures": dict(unusable)} if images else {}),
        as_json,
        f"{output}: {rows:,} products in {seconds:.1f} s"
        + unusable_said(unusable)
        + set_aside_said(len(unreadable), aside),
    )


@app.command()
def evaluate(
    file: Files,
    images: Images = None,
    text_encoder: TextSpec = None,
    image_encoder: ImageSpec = None,
    backend: Backend = "torch",
    vote: Vote = None,
    cache: Cache = CACHE,
    holdout: Annotated[float, typer.Option(help="The part of the products held out.")] = 0.1,
    group_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Hold out whole groups: rows alike in this column.")
    ] = None,
    stratify: Annotated[bool, typer.Option("--stratify", help="Hold out the same part of every category.")] = False,
    top_k: TopK = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Say how good the predictions are, on products held out from the file."""
    from rubrika.eval.evaluate import evaluate as run
    from rubrika.products.parquet import Reader
    from rubrika.terminal import Terminal, evaluation_table

    reader = Reader(file, labelled=True, group_by=group_by)
    terminal = Terminal()
    found = run(
        reader,
        cache=cache.expanduser(),
        pictures=pictures_of(images),
        choice=choice_of(text_encoder, image_encoder, backend, vote, images, None, terminal.note),
        holdout=holdout,
        seed=seed,
        stratify=stratify,
        top_k=top_k,
        progress=terminal,
    )
    answer(found.as_dict(), as_json, evaluation_table(found))


@app.command()
def neighbours(
    product_id: Annotated[int | None, typer.Argument(metavar="[PRODUCT_ID]", help="A stored product.")] = None,
    title: Annotated[str | None, typer.Option(help="A product's title, when it is not stored.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture, to find what looks like it.")] = None,
    vector: Annotated[
        str | None, typer.Option(metavar="NAME", help="The named vector: text, image, joint; text or image by default.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many to show.")] = 10,
    show: Annotated[bool, typer.Option("--open", help="Print where the server's web UI shows this product.")] = False,
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Show the labelled products most like one, given by its id, a title, or a picture."""
    from dataclasses import asdict

    from rubrika.index.index import Index
    from rubrika.retrieve.neighbours import neighbours_of_picture, neighbours_of_product, neighbours_of_title
    from rubrika.terminal import neighbours_table

    if [product_id, title, image].count(None) != 2:
        raise typer.BadParameter("give one of PRODUCT_ID, --title and --image")
    with Index.open(index, cache.expanduser(), server_of(url, collection), api_key()) as opened:
        if product_id is not None:
            found = neighbours_of_product(opened, product_id, vector or "text", k)
        elif image is not None:
            found = neighbours_of_picture(opened, image, vector or "image", k)
        else:
            found = neighbours_of_title(opened, str(title), vector or "text", k)
        page = opened.dashboard(product_id) if show else None
    text = neighbours_table(found) + (f"\n{page}" if page else "")
    answer({"neighbours": [asdict(each) for each in found]} | ({"open": page} if show else {}), as_json, text)


@app.command()
def info(
    index: IndexFolder = INDEX,
    url: Url = None,
    collection: Collection = None,
    cache: Cache = CACHE,
    as_json: AsJson = False,
) -> None:
    """Say what is in the index: products, categories, vectors and how they vote."""
    from dataclasses import asdict

    from rubrika.index.index import Index
    from rubrika.terminal import info_table

    with Index.open(index, cache.expanduser(), server_of(url, collection), api_key()) as opened:
        found: dict[str, Any] = asdict(opened.manifest) | {
            "products": opened.store.count(),
            "categories": len(opened.store.facet("category_id")),
            "rubrika": __version__,
        }
    answer(found, as_json, info_table(index, found))


app.command()(moving.push)
app.command()(moving.pull)
app.add_typer(training.app)


if __name__ == "__main__":
    main()
