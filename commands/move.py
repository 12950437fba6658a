"""`rubrika push` and `rubrika pull`: the points of an index to a server, and back."""

from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import INDEX, AsJson, Collection, IndexFolder, answer, api_key, server_of
from rubrika.index.location import Location
from rubrika.store.connection import Connection, Quantisation, SearchOptions, ServerOptions


def push(
    url: Annotated[str, typer.Option("--url", envvar="QDRANT_URL", help="The Qdrant server.")],
    collection: Collection = None,
    index: IndexFolder = INDEX,
    shards: Annotated[int | None, typer.Option(min=1, help="Parts that a cluster spreads over its nodes.")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Copies of each part.")] = None,
    write_consistency: Annotated[int | None, typer.Option(min=1, help="Copies that must have a write.")] = None,
    on_disk: Annotated[
        bool, typer.Option("--on-disk", help="Keep full vectors on disk, quantised ones in memory.")
    ] = False,
    quantisation: Annotated[Quantisation, typer.Option(help="Of the vectors that are scanned.")] = "int8",
    graph_links: Annotated[int, typer.Option(min=0, help="Links of the HNSW graph; 0 scans.")] = 0,
    graph_effort: Annotated[int, typer.Option(min=4, help="Candidates weighed for each link of the graph.")] = 100,
    search_effort: Annotated[
        int | None, typer.Option(min=1, help="Candidates kept while walking the graph, from now on; the server knows.")
    ] = None,
    oversampling: Annotated[
        float, typer.Option(min=1, help="How many times more are found by quantised vectors, to be rescored.")
    ] = 2.0,
    alias: Annotated[
        str | None, typer.Option(help="A second name, switched to the collection once all products are there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move the points of an index to a Qdrant server; run it again if it was interrupted, or to search otherwise."""
    options = ServerOptions(
        shards=shards,
        replicas=replicas,
        write_consistency=write_consistency,
        on_disk=on_disk,
        quantisation=quantisation,
        graph_links=graph_links,
        graph_effort=graph_effort,
        search=SearchOptions(search_effort, oversampling),
    )
    _move(index, server_of(url, collection), as_json, options, alias)


def pull(index: IndexFolder = INDEX, as_json: AsJson = False) -> None:
    """Bring the points of an index back from its server into its folder."""
    _move(index, None, as_json)


def _move(
    index: Path,
    server: Connection | None,
    as_json: bool,
    options: ServerOptions | None = None,
    alias: str | None = None,
) -> None:
    from rubrika.ingest.move import move_index
    from rubrika.terminal import Terminal

    moved = move_index(Location(index, server, api_key=api_key()), Terminal(), options, alias)
    where = f"{server.server}, collection {server.collection}" if server else str(index)
    named = f"; it is what {alias} names now" if alias else ""
    counts = f"{moved.total:,} products, {moved.copied:,} copied, {moved.skipped:,} were there already"
    answer(moved.to_dict(), as_json, f"{where}: {counts}{named}")
