"""`rubrika push` and `rubrika pull`: the points of an index to a server, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rubrika.commands.options import INDEX, AsJson, Collection, IndexFolder, answer, api_key, server_of
from rubrika.store.connection import Connection, Quantisation, ServerOptions


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
    as_json: AsJson = False,
) -> None:
    """Move the points of an index to a Qdrant server; run it again if it was interrupted."""
    options = ServerOptions(
        shards=shards,
        replicas=replicas,
        write_consistency=write_consistency,
        on_disk=on_disk,
        quantisation=quantisation,
        graph_links=graph_links,
    )
    _move(index, server_of(url, collection), as_json, options)


def pull(index: IndexFolder = INDEX, as_json: AsJson = False) -> None:
    """Bring the points of an index back from its server into its folder."""
    _move(index, None, as_json)


def _move(index: Path, server: Connection | None, as_json: bool, options: ServerOptions | None = None) -> None:
    from rubrika.index.move import move_index
    from rubrika.terminal import Terminal

    moved = move_index(index, server, api_key(), Terminal(), options)
    where = f"{server.server}, collection {server.collection}" if server else str(index)
    counts = f"{moved.total:,} products, {moved.copied:,} copied, {moved.skipped:,} were there already"
    answer(asdict(moved), as_json, f"{where}: {counts}")
