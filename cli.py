"""The command line: parse, call, print. Nothing else in Rubrika prints; heavy imports wait inside the commands."""

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rubrika import __version__
from rubrika.errors import RubrikaError

if TYPE_CHECKING:
    from rubrika.index.create import Choice
    from rubrika.products.pictures import PictureFolder
    from rubrika.store.connection import Connection

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tells which category a product belongs to, by the labelled products most like it.",
)

Files = Annotated[list[Path], typer.Argument(help="Parquet files of labelled products.", metavar="FILE...")]
File = Annotated[Path, typer.Argument(help="A parquet file of products.", metavar="FILE")]
IndexFolder = Annotated[Path, typer.Option("--index", envvar="RUBRIKA_INDEX", help="The index folder.")]
Url = Annotated[str | None, typer.Option("--url", envvar="QDRANT_URL", help="A Qdrant server instead of the folder.")]
Collection = Annotated[str | None, typer.Option("--collection", help="The collection on the server.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
TopK = Annotated[int | None, typer.Option("--top-k", min=1, max=1000, help="How many hits vote; the index knows best.")]
Images = Annotated[Path | None, typer.Option("--images", metavar="DIR", help="Pictures, named by product_id.")]
Cache = Annotated[Path, typer.Option("--cache", envvar="RUBRIKA_CACHE", help="Keeps vectors of pretrained encoders.")]
TextSpec = Annotated[
    str | None, typer.Option("--text-encoder", metavar="SPEC", help="learned, rubert, use, a model's name or folder.")
]
ImageSpec = Annotated[
    str | None,
    typer.Option("--image-encoder", metavar="SPEC", help="vit, clip, efficientnet-lite0, a model's name or folder."),
]
Backend = Annotated[Literal["torch", "onnx-int8"], typer.Option(help="Runs a pretrained text encoder.")]
Vote = Annotated[
    Literal["joint", "text", "image", "late"] | None,
    typer.Option(help="Whose neighbours vote; late fuses the votes by text and by image."),
]
Seed = Annotated[int, typer.Option("--seed", help="Chooses what is drawn at random.")]

INDEX = Path("rubrika-index")
CACHE = Path("~/.cache/rubrika")


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
    _answer(
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
    choice = _choice(text_encoder, image_encoder, backend, vote, images, index, terminal.note)
    report = run(
        index,
        Reader(files, labelled=True),
        pictures=_pictures(images),
        choice=choice,
        cache=cache.expanduser(),
        server=_server(url, collection),
        api_key=_key(),
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
    _answer(
        counts | pictures | {"seconds": report.seconds, "rejects": str(aside) if report.rejects else None},
        as_json,
        f"{index}: {lines} in {report.seconds:.1f} s"
        + (f"; {report.pictures:,} with a picture" if images else "")
        + _unusable(report.unusable)
        + _set_aside(len(report.rejects), aside),
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
        Index.open(index, cache.expanduser(), _server(url, collection), _key()) as opened,
        Output(output, details, CategoryNames(opened.store), reader.id_type()) as out,
        Terminal().stage("classifying", len(reader)) as advance,
    ):
        for classified in run(opened, reader, _pictures(images), top_k):
            out.write(classified)
            unreadable += classified.batch.rejects
            unusable.update(classified.failures)
            rows += classified.batch.rows
            advance(classified.batch.rows)
    aside = rejects or output.with_name(f"{output.stem}.rejects.parquet")
    if unreadable:
        write_rejects(unreadable, aside)
    seconds = round(time.monotonic() - started, 3)
    _answer(
        {"rows": rows, "rejected": len(unreadable), "seconds": seconds, "output": str(output)}
        | ({"unusable_pictures": dict(unusable)} if images else {}),
        as_json,
        f"{output}: {rows:,} products in {seconds:.1f} s" + _unusable(unusable) + _set_aside(len(unreadable), aside),
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
        pictures=_pictures(images),
        choice=_choice(text_encoder, image_encoder, backend, vote, images, None, terminal.note),
        holdout=holdout,
        seed=seed,
        stratify=stratify,
        top_k=top_k,
        progress=terminal,
    )
    answer = {
        "weighted_f1": found.metrics.weighted_f1,
        "macro_f1": found.metrics.macro_f1,
        "accuracy": found.metrics.accuracy,
        "ci95": list(found.interval),
        "rows": found.rows,
        "classes": found.classes,
        "split": {"how": found.split.how, "seed": found.split.seed, "hash": found.split.hash},
        "k": found.top_k,
        "sweep": [{"k": point.top_k, "mode": point.mode, "weighted": point.weighted} for point in found.sweep],
        "seconds": found.seconds,
    }
    _answer(answer, as_json, evaluation_table(found))


@app.command()
def neighbours(
    product_id: Annotated[int | None, typer.Argument(metavar="[PRODUCT_ID]", help="A stored product.")] = None,
    title: Annotated[str | None, typer.Option(help="A product's title, when it is not stored.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture, to find what looks like it.")] = None,
    vector: Annotated[
        str | None, typer.Option(metavar="NAME", help="The named vector: text, image, joint; text or image by default.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many to show.")] = 10,
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
    with Index.open(index, cache.expanduser(), _server(url, collection), _key()) as opened:
        if product_id is not None:
            found = neighbours_of_product(opened, product_id, vector or "text", k)
        elif image is not None:
            found = neighbours_of_picture(opened, image, vector or "image", k)
        else:
            found = neighbours_of_title(opened, str(title), vector or "text", k)
    _answer({"neighbours": [asdict(each) for each in found]}, as_json, neighbours_table(found))


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

    with Index.open(index, cache.expanduser(), _server(url, collection), _key()) as opened:
        answer: dict[str, Any] = asdict(opened.manifest) | {
            "products": opened.store.count(),
            "categories": len(opened.store.facet("category_id")),
            "rubrika": __version__,
        }
    _answer(answer, as_json, info_table(index, answer))


@app.command()
def push(
    url: Annotated[str, typer.Option("--url", envvar="QDRANT_URL", help="The Qdrant server.")],
    collection: Collection = None,
    index: IndexFolder = INDEX,
    as_json: AsJson = False,
) -> None:
    """Move the points of an index to a Qdrant server; run it again if it was interrupted."""
    _move(index, _server(url, collection), as_json)


@app.command()
def pull(index: IndexFolder = INDEX, as_json: AsJson = False) -> None:
    """Bring the points of an index back from its server into its folder."""
    _move(index, None, as_json)


def _move(index: Path, server: "Connection | None", as_json: bool) -> None:
    from dataclasses import asdict

    from rubrika.index.move import move_index
    from rubrika.terminal import Terminal

    moved = move_index(index, server, _key(), Terminal())
    where = f"{server.url}, collection {server.collection}" if server else str(index)
    _answer(
        asdict(moved),
        as_json,
        f"{where}: {moved.total:,} products, {moved.copied:,} copied, {moved.skipped:,} were there already",
    )


def _server(url: str | None, collection: str | None) -> "Connection | None":
    from rubrika.store.connection import Connection

    if collection and not url:
        raise typer.BadParameter("--collection is on a server: say which with --url or QDRANT_URL")
    return Connection(url, collection or "products", _key()) if url else None


def _key() -> str | None:
    """The server's key comes from the environment alone: command lines are seen by others."""
    return os.environ.get("QDRANT_API_KEY") or None


def _answer(answer: dict[str, Any], as_json: bool, text: str) -> None:
    """The result, on stdout: one JSON object, or what a person reads."""
    print(json.dumps(answer, ensure_ascii=False) if as_json else text)  # noqa: T201


def _pictures(images: Path | None) -> "PictureFolder | None":
    from rubrika.products.pictures import PictureFolder

    return PictureFolder.scan(images) if images else None


def _choice(
    text: str | None,
    image: str | None,
    backend: Literal["torch", "onnx-int8"],
    vote: str | None,
    images: Path | None,
    index: Path | None,
    note: Callable[[str], None],
) -> "Choice | None":
    """What was asked for; with pictures and no word on their encoder, the best that can be had here."""
    from rubrika.index.create import Choice
    from rubrika.index.index import has_index

    if image and not images:
        raise typer.BadParameter("--image-encoder needs --images, the folder of the pictures")
    if index is not None and has_index(index):
        return Choice(text, image) if text or image else None
    if images and not image:
        from rubrika.encode.specs import default_pictures

        image, why = default_pictures()
        note(why)
    return Choice(text, image, backend, vote)


def _unusable(reasons: "Counter[str]") -> str:
    said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return f"; pictures that cannot be used: {said}" if said else ""


def _set_aside(count: int, path: Path) -> str:
    return f"; {count:,} rows were set aside, see {path}" if count else ""


if __name__ == "__main__":
    main()
