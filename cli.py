"""The command line: options in, one operation of `api.Index`, and a table or one JSON object out."""

import io
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from rubrika import display
from rubrika import options as opt
from rubrika.console import (
    LAYOUT,
    ON_RAY,
    arguments_of,
    layout_of,
    leave_out,
    leave_stdout,
    open_index,
    print_result,
    ray_of,
    spelled,
)
from rubrika.errors import ParameterError, RubrikaError
from rubrika.training import training

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Predicts a product's category from its most similar labelled products.",
)
app.add_typer(training)

# What tells where the points of an index are.
PLACE = ("url", "collection", "ca_cert", "cache")
# What a protocol fixes by itself.
FIXED = ("holdout", "group_by", "stratify", "top_k", "seed")
# What an index that is there has settled.
SETTLED = ("text_encoder", "image_encoder", "backend", "pooling", "vote", "holdout", "stratify", "methods", "protocol")


def _show_version(wanted: bool) -> None:
    if wanted:
        from rubrika import __version__

        typer.echo(f"rubrika {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, Option("--version", callback=_show_version, is_eager=True, help="Its version.")] = False,
) -> None:
    """Predicts a product's category from its most similar labelled products."""


@app.command()
def sample(
    folder: Annotated[Path, Argument(metavar="DIR", help="Where to write it.")],
    products: Annotated[int, Option("--products", min=300, max=1_000_000, help="How many products.")] = 3_000,
    seed: opt.Seed = 0,
    force: Annotated[bool, Option("--force", help="Replace tables that are there.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Write a small made-up marketplace: train.parquet, test.parquet, and drawn pictures."""
    from rubrika.sample import write_sample

    summary = write_sample(folder, seed=seed, products=products, force=force)
    counts = f"{summary.train:,} labelled products, {summary.test:,} to classify, {summary.categories} categories"
    print_result(asdict(summary), as_json, lambda: f"{folder}: {counts}, {summary.pictures:,} pictures")


@app.command()
def ingest(
    context: typer.Context,
    files: opt.Files,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    images: opt.Images = None,
    image_url: Annotated[str | None, Option(metavar="URL", help="Where that folder is served, for the web UI.")] = None,
    text_encoder: opt.TextEncoder = None,
    image_encoder: opt.ImageEncoder = None,
    backend: opt.Backend = "torch",
    pooling: opt.Pooling = None,
    vote: opt.Vote = None,
    cache: opt.Cache = opt.CACHE,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    delete_missing: opt.DeleteMissing = False,
    rename: opt.Rename = False,
    verified: opt.Verified = False,
    by: opt.By = None,
    group_by: opt.Groups = None,
    columns: opt.Columns = None,
    path_separator: opt.PathSeparator = None,
    shards: opt.Shards = None,
    replicas: opt.Replicas = None,
    write_consistency: opt.WriteConsistency = None,
    on_disk: opt.OnDisk = False,
    quantisation: opt.Quantisation = None,
    hnsw_m: opt.HnswM = None,
    ef_construct: opt.EfConstruct = None,
    graph_from: opt.GraphFrom = None,
    hnsw_ef: opt.HnswEf = None,
    oversampling: opt.Oversampling = None,
    adopt: opt.Adopt = False,
    ray: opt.OnRay = False,
    ray_address: opt.RayAddress = None,
    actors: opt.Actors = None,
    actor_gpus: opt.ActorGpus = 0.0,
    as_json: opt.AsJson = False,
) -> None:
    """Put labelled products into the index, learning its encoder first when it is new."""
    from rubrika.ingest.ingest import write_kept
    from rubrika.ingest.write import IngestError
    from rubrika.products.rejects import default_reject_path, remove_stale, write_rejects

    given, options = arguments_of(context, "files", "index", *PLACE, *LAYOUT, *ON_RAY), layout_of(context)
    opened, refused = open_index(index, url, collection, cache, ca_cert), None
    try:
        report = opened.ingest(files, **given, options=options, ray=ray_of(context))
    except IngestError as error:
        report, refused = error.report, error
    path, kept = rejects or default_reject_path(index), default_reject_path(index, "kept")
    if ray:
        path = rejects or path.with_suffix("")
    elif rejects is None or refused:
        write_rejects(report.rejects, path) if report.rejects else remove_stale(path)
    write_kept(report.kept_labels, kept) if report.kept_labels else remove_stale(kept)
    if refused:
        raise IngestError(f"{refused}; all reasons are in {path}", report) if report.rejects else refused
    written = {"rejects": str(path) if report.rejected else None, "kept_labels": str(kept) if report.kept else None}
    print_result(report.to_dict() | written, as_json, lambda: display.format_ingest(index, report, path, kept))
    if report.read and report.rejected == report.read:
        first = f"; the first: {report.rejects[0].reason}" if report.rejects else ""
        raise RubrikaError(f"none of the {report.read:,} rows could be used{first}; see {path}")


@app.command()
def classify(
    context: typer.Context,
    file: Annotated[Path, Argument(help="A table of products.", metavar="FILE")],
    output: Annotated[
        Path, Option("-o", "--output", help="Where the predictions go: .parquet, .csv, .tsv, .jsonl, .xlsx, or -.")
    ] = Path("result.parquet"),
    details: Annotated[Path | None, Option(help="Where confidence, alternatives and neighbours go.")] = None,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    images: opt.Images = None,
    cache: opt.Cache = opt.CACHE,
    top_k: opt.TopK = None,
    max_error: opt.MaxError = opt.MAX_ERROR,
    confidence: opt.Confidence = opt.CONFIDENCE,
    new_rate: opt.NewRate = opt.NEW_RATE,
    level: opt.Level = None,
    include_self: opt.IncludeSelf = False,
    rejects: opt.Rejects = None,
    monitor: opt.Monitor = None,
    exact: opt.Exact = False,
    columns: opt.Columns = None,
    ray: opt.OnRay = False,
    ray_address: opt.RayAddress = None,
    actors: opt.Actors = None,
    actor_gpus: opt.ActorGpus = 0.0,
    as_json: opt.AsJson = False,
) -> None:
    """Predict the category of every product of a table."""
    leave_stdout(output, as_json)
    given = arguments_of(context, "index", *PLACE, *ON_RAY)
    report = open_index(index, url, collection, cache, ca_cert, reads=True).classify_file(**given, ray=ray_of(context))
    print_result(report.to_dict(), as_json, lambda: display.format_classify(report), aside=str(output) == "-")


@app.command()
def decide(
    details: Annotated[Path, Argument(metavar="FILE", help="What `classify --details` wrote.")],
    max_error: opt.MaxError = opt.MAX_ERROR,
    confidence: opt.Confidence = opt.CONFIDENCE,
    output: Annotated[Path | None, Option("-o", "--output", help="Where it goes. [default: FILE]")] = None,
    as_json: opt.AsJson = False,
) -> None:
    """Decide anew which saved predictions are automatic, without searching again."""
    from rubrika.api import Index

    counts = Index.decide(details, max_error, output, confidence=confidence)
    shown = ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "no products"
    print_result(counts, as_json, lambda: f"{output or details}: {shown}")


@app.command()
def evaluate(
    context: typer.Context,
    file: opt.Files,
    index: opt.Live = None,
    images: opt.Images = None,
    text_encoder: opt.TextEncoder = None,
    image_encoder: opt.ImageEncoder = None,
    backend: opt.Backend = "torch",
    pooling: opt.Pooling = None,
    vote: opt.Vote = None,
    cache: opt.Cache = opt.CACHE,
    holdout: opt.Holdout = 0.1,
    group_by: opt.GroupBy = None,
    stratify: Annotated[bool, Option("--stratify", help="Hold out the same part of every category.")] = False,
    top_k: opt.TopK = None,
    max_error: opt.MaxError = opt.MAX_ERROR,
    confidence: opt.Confidence = opt.CONFIDENCE,
    new_rate: opt.NewRate = opt.NEW_RATE,
    url: opt.Url = None,
    collection: opt.Prefix = None,
    ca_cert: opt.CaCert = None,
    seed: opt.Seed = 0,
    report: opt.Report = None,
    methods: opt.Methods = None,
    protocol: opt.Protocol = None,
    fail_below: opt.FailBelow = None,
    exact: opt.Exact = False,
    columns: opt.Columns = None,
    path_separator: opt.PathSeparator = None,
    as_json: opt.AsJson = False,
) -> None:
    """Measure how good the predictions are, on products held out from the files; or those of an index, on all."""
    from rubrika.api import Index
    from rubrika.inputs import bounds_of

    bounds = bounds_of(fail_below or ())
    if index:
        leave_out(context, SETTLED, f"the `index` {index} is scored as it is")
        given = arguments_of(context, "file", "index", "fail_below", "path_separator", *PLACE, *SETTLED)
        with open_index(index, url, collection, cache, ca_cert, reads=True) as opened:
            result = opened.evaluate_live(file, **given)
    else:
        if protocol:
            leave_out(context, FIXED, f"`protocol` {protocol} fixes the split and the vote itself")
        leave_out(context, ("exact",), "how an `index` is searched is said of one that is there")
        given = arguments_of(context, "file", "index", "fail_below", "exact")
        result = Index.evaluate(file, **given, progress=display.Terminal(spelled))
    print_result(result.to_dict(), as_json, lambda: display.format_evaluation(result))
    if missed := result.below(bounds):
        raise RubrikaError(f"`fail_below`: {missed}")


@app.command()
def tune(
    files: opt.Files,
    index: opt.IndexFolder = opt.INDEX,
    images: opt.Images = None,
    cache: opt.Cache = opt.CACHE,
    holdout: opt.Holdout = 0.1,
    group_by: opt.GroupBy = None,
    max_error: opt.MaxError = opt.MAX_ERROR,
    confidence: opt.Confidence = opt.CONFIDENCE,
    new_rate: opt.NewRate = opt.NEW_RATE,
    seed: opt.Seed = 0,
    columns: opt.Columns = None,
    as_json: opt.AsJson = False,
) -> None:
    """Choose on held-out products how the index votes and when it is sure, and keep that in the index."""
    result = open_index(index, None, None, cache).tune(
        files,
        images,
        holdout=holdout,
        group_by=group_by,
        max_error=max_error,
        confidence=confidence,
        new_rate=new_rate,
        seed=seed,
        columns=columns,
    )
    print_result(result.to_dict(), as_json, lambda: display.format_tuning(result))


@app.command()
def neighbours(
    product_id: opt.ProductId = None,
    title: opt.Title = None,
    image: opt.Picture = None,
    vector: opt.Vector = None,
    k: Annotated[int, Option("-k", min=1, max=1000, help="How many to show.")] = 10,
    output: Annotated[Path | None, Option("-o", "--output", help="Write them to a table, too.")] = None,
    show: Annotated[
        bool, Option("--open", help="Open the server's web UI, and say what shows this product there.")
    ] = False,
    exact: opt.Exact = False,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    as_json: opt.AsJson = False,
) -> None:
    """Show the labelled products most like one, given by its id, a title, or a picture."""
    leave_stdout(output, as_json)
    with open_index(index, url, collection, cache, ca_cert, reads=True) as opened:
        hits = opened.neighbours(product_id, title=title, image=image, vector=vector, top_k=k, page=show, exact=exact)
    if output is not None:
        hits.write(output)
    print_result(hits.to_dict(), as_json, lambda: display.format_neighbours(hits), aside=str(output) == "-")
    if hits.page and sys.stdout.isatty() and not as_json:
        typer.launch(hits.page.split()[0])


@app.command()
def explain(
    product_id: opt.ProductId = None,
    title: opt.Title = None,
    image: opt.Picture = None,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    top_k: opt.TopK = None,
    as_json: opt.AsJson = False,
) -> None:
    """Explain a prediction: the vote, the neighbours behind it, and the words that mattered most."""
    with open_index(index, url, collection, cache, ca_cert, reads=True) as opened:
        result = opened.explain(product_id, title=title, image=image, top_k=top_k)
    print_result(result.to_dict(), as_json, lambda: display.format_explanation(result))


@app.command()
def audit(
    files: opt.SomeFiles = None,
    output: Annotated[Path, Option("-o", "--output", help="Where label issues go.")] = Path("audit.parquet"),
    duplicates: opt.Duplicates = None,
    min_confidence: Annotated[float, Option(min=0, max=1, help="Leave out label issues less sure than this.")] = 0.0,
    limit: Annotated[int, Option(min=0, max=10_000, help="How many rows of each table to show.")] = 20,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    as_json: opt.AsJson = False,
) -> None:
    """Find labels that are probably wrong, the surest first."""
    leave_stdout(output, as_json)
    with open_index(index, url, collection, cache, ca_cert, reads=True) as opened:
        report = opened.audit(output, duplicates, limit, files=files or (), min_confidence=min_confidence)
    print_result(report.to_dict(), as_json, lambda: display.format_audit(report), aside=str(output) == "-")


@app.command()
def stats(
    files: Annotated[list[Path], Argument(help="Tables of products, labelled or not.", metavar="FILE...")],
    images: opt.Images = None,
    text_encoder: opt.Tokens = None,
    group_by: opt.AlikeBy = None,
    report: opt.Report = None,
    output: Annotated[Path | None, Option("-o", "--output", help="Write a table of the categories, too.")] = None,
    columns: opt.Columns = None,
    as_json: opt.AsJson = False,
) -> None:
    """Describe files of products: lengths, categories, duplicates, scripts, pictures, and what is missing."""
    from rubrika.inputs import columns_of, paths_of
    from rubrika.stats.stats import describe

    leave_stdout(output, as_json)
    names = columns_of(columns, None)
    result = describe(paths_of(files), images, text_encoder, group_by, report, display.Terminal(spelled), names, output)
    print_result(result.to_dict(), as_json, lambda: display.format_stats(result, report), aside=str(output) == "-")


@app.command()
def info(
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    drift: opt.Drift = None,
    runs: Annotated[int, Option(min=1, help="How many of them.")] = 7,
    card: Annotated[bool, Option("--card", help="Write that into the index folder, too, as CARD.md.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Show what is in the index: products, categories, vectors, how they vote, and how far it can be trusted."""
    from rubrika.retrieve.index_card import write_card

    result = open_index(index, url, collection, cache, ca_cert, reads=True).info(drift, runs)
    written = {"card": str(write_card(result))} if card else {}
    print_result(result.to_dict() | written, as_json, lambda: display.format_info(result))


@app.command()
def categories(
    file: opt.Categories = None,
    rename: opt.Rename = False,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    as_json: opt.AsJson = False,
) -> None:
    """List the categories that the index knows by name, or add those of a table before they have products."""
    with open_index(index, url, collection, cache, ca_cert) as opened:
        result = opened.categories(file, rename=rename)
    print_result(result.to_dict(), as_json, lambda: display.format_categories(result, index))


@app.command()
def delete(
    products: opt.ToDelete,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    as_json: opt.AsJson = False,
) -> None:
    """Delete products from the index."""
    result = open_index(index, url, collection, cache, ca_cert).delete(products)
    unknown = f", {result.unknown:,} were not in the index" if result.unknown else ""
    print_result(result.to_dict(), as_json, lambda: f"{index}: {result.deleted:,} products deleted{unknown}")


@app.command()
def relabel(
    what: opt.What = None,
    category: opt.Category = None,
    source: opt.Source = None,
    target: opt.Target = None,
    path: opt.CategoryPath = None,
    by: opt.By = None,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    as_json: opt.AsJson = False,
) -> None:
    """Correct the category of a product, or move all products of a category, or do what a table says."""
    from rubrika.inputs import is_table_file

    opened = open_index(index, url, collection, cache, ca_cert)
    if what is None and source is not None and target is not None:
        result = opened.relabel(source, target, path)
    elif what is None or source is not None or target is not None:
        raise ParameterError("give a product, a file, or `source` and `target`")
    elif is_table_file(what):
        result = opened.relabel(Path(what), category, path, by=by)
    else:
        result = opened.correct({what: category}, path, by=by)
    print_result(result.to_dict(), as_json, lambda: display.format_relabelled(index, result))


@app.command()
def learn(
    files: opt.SomeFiles = None,
    index: opt.IndexFolder = opt.INDEX,
    cache: opt.Cache = opt.CACHE,
    as_json: opt.AsJson = False,
) -> None:
    """Learn the encoder again from all products in the index, and switch over when that has succeeded."""
    result = open_index(index, None, None, cache).learn(files or ())
    learned = f"learned from {result.products:,} products in {result.categories:,} categories"
    print_result(result.to_dict(), as_json, lambda: f"{index}: {learned}")


@app.command()
def check(
    files: opt.SomeFiles = None,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    images: opt.Images = None,
    cache: opt.Cache = opt.CACHE,
    repair: Annotated[bool, Option("--repair", help="Write what is damaged anew from those files.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Read the whole index and list its problems, or look at a server before anything is there; exit 1 for problems."""
    result = open_index(index, url, collection, cache, ca_cert).check(files or (), images, repair=repair)
    print_result(result.to_dict(), as_json, lambda: display.format_checked(index, result, spelled))
    if result.problems:
        raise typer.Exit(1)


@app.command()
def push(
    context: typer.Context,
    url: Annotated[str, Option("--url", envvar="QDRANT_URL", help="The Qdrant server.")],
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    index: opt.IndexFolder = opt.INDEX,
    shards: opt.Shards = None,
    replicas: opt.Replicas = None,
    write_consistency: opt.WriteConsistency = None,
    on_disk: opt.OnDisk = False,
    quantisation: opt.Quantisation = None,
    hnsw_m: opt.HnswM = None,
    ef_construct: opt.EfConstruct = None,
    graph_from: opt.GraphFrom = None,
    hnsw_ef: opt.HnswEf = None,
    oversampling: opt.Oversampling = None,
    alias: opt.Alias = None,
    adopt: opt.Adopt = False,
    as_json: opt.AsJson = False,
) -> None:
    """Move the points of an index to a Qdrant server; run it again if it was interrupted, or to search otherwise."""
    opened = open_index(index, None, None, opt.CACHE, ca_cert)
    result = opened.push(url, collection, options=layout_of(context), alias=alias, adopt=adopt)
    target = f"{url}, collection {collection or 'products'}"
    print_result(result.to_dict(), as_json, lambda: display.format_moved(result, target, alias))


@app.command()
def pull(index: opt.IndexFolder = opt.INDEX, as_json: opt.AsJson = False) -> None:
    """Bring the points of an index back from its server into its folder."""
    result = open_index(index, None, None, opt.CACHE).pull()
    print_result(result.to_dict(), as_json, lambda: display.format_moved(result, str(index)))


@app.command()
def publish(
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    as_json: opt.AsJson = False,
) -> None:
    """Store the encoders of an index on its server too, so that it is read without the folder."""
    result = open_index(index, url, collection, opt.CACHE, ca_cert).publish()
    new = f"published, {result.bytes:,} bytes were new on its server"
    print_result(result.to_dict(), as_json, lambda: f"{index}: {new}")


@app.command()
def export(
    encoder: opt.EncoderFolder = None,
    embeddings: opt.Embeddings = None,
    vector: opt.Vectors = None,
    neighbours: opt.Nearest = 10,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    as_json: opt.AsJson = False,
) -> None:
    """Write what other tools open: the learned text encoder as a model, the vectors of all products as a table."""
    with open_index(index, url, collection, cache, ca_cert, reads=True) as opened:
        result = opened.export(encoder, embeddings, vector=vector or "text", neighbours=neighbours)
    print_result(result.to_dict(), as_json, result.describe)


@app.command()
def rollback(
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    as_json: opt.AsJson = False,
) -> None:
    """Go back to the encoder before the last `rubrika learn` of a published index, and its points."""
    result = open_index(index, url, collection, opt.CACHE, ca_cert).rollback()
    back = f"back to {result.collection} with {result.products:,} products; {result.before} stays"
    print_result(result.to_dict(), as_json, lambda: f"{index}: {back}")


@app.command()
def serve(
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    host: opt.Host = "127.0.0.1",
    port: opt.Port = 8000,
    workers: opt.Workers = 1,
    max_error: opt.MaxError = opt.MAX_ERROR,
    confidence: opt.Confidence = opt.CONFIDENCE,
    new_rate: opt.NewRate = opt.NEW_RATE,
    images: opt.Shown = None,
    as_json: opt.AsJson = False,
) -> None:
    """Answer over HTTP, on this machine: classify, neighbours, explain, corrections, and the review desk."""
    from rubrika.inputs import picture_folders
    from rubrika.serve.server import run

    rates = {"max_error": max_error, "confidence": confidence, "new_rate": new_rate}
    opened, folders = open_index(index, url, collection, cache, ca_cert), picture_folders(images or ())
    run(opened, host, port, lambda at: print_result({"url": at}, as_json, lambda: at), folders, workers, **rates)


@app.command()
def review(
    file: Annotated[
        Path | None,
        Argument(metavar="[FILE]", help="What `classify --details`, `audit` or `ingest` (kept labels) wrote."),
    ] = None,
    products: opt.Classified = None,
    index: opt.IndexFolder = opt.INDEX,
    url: opt.Url = None,
    collection: opt.Collection = None,
    ca_cert: opt.CaCert = None,
    cache: opt.Cache = opt.CACHE,
    images: opt.Shown = None,
    columns: opt.Columns = None,
    output: Annotated[Path | None, Option("-o", "--output", help="Write what was decided, and open nothing.")] = None,
    host: opt.Host = "127.0.0.1",
    port: opt.Port = 8000,
    show: Annotated[bool, Option("--open", help="Open a browser.")] = False,
    as_json: opt.AsJson = False,
) -> None:
    """Open the review desk in a browser, where people decide what the index is unsure of."""
    from rubrika.inputs import picture_folders
    from rubrika.serve.review import open_reviews, write_reviews
    from rubrika.serve.server import run

    opened = open_index(index, url, collection, cache, ca_cert)
    if output:
        count = write_reviews(opened, output)
        print_result({"decisions": count, "output": str(output)}, as_json, lambda: f"{output}: {count:,} decisions")
        return
    counts = open_reviews(opened, file, products, columns)

    def listening(at: str) -> None:
        print_result({"url": at, "waiting": counts}, as_json, lambda: display.format_desk(at, counts))
        if show:
            typer.launch(at)

    run(opened, host, port, listening, picture_folders(images or ()))


def main() -> None:
    """Run a command; what goes wrong is one line on stderr and exit code 1, a wrong usage 2."""
    # Threads that wait for one another by spinning take a shared machine's cores from whoever has work to do.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # What gRPC tries in vain it would tell on stderr, beside the sentence that says so.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except RubrikaError as error:
        print(f"rubrika: {spelled(str(error))}", file=sys.stderr)  # noqa: T201
        sys.exit(2 if isinstance(error, ParameterError) else 1)


if __name__ == "__main__":
    main()
