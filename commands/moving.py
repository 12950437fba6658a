"""`rubrika push` and `rubrika pull`: the points of an index to a server, and back."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rubrika.commands.options import INDEX, AsJson, Collection, IndexFolder, answer, api_key, server_of

if TYPE_CHECKING:
    from rubrika.store.connection import Connection


def push(
    url: Annotated[str, typer.Option("--url", envvar="QDRANT_URL", help="The Qdrant server.")],
    collection: Collection = None,
    index: IndexFolder = INDEX,
    as_json: AsJson = False,
) -> None:
    """Move the points of an index to a Qdrant server; run it again if it was interrupted."""
    _move(index, server_of(url, collection), as_json)


def pull(index: IndexFolder = INDEX, as_json: AsJson = False) -> None:
    """Bring the points of an index back from its server into its folder."""
    _move(index, None, as_json)


def _move(index: Path, server: "Connection | None", as_json: bool) -> None:
    from rubrika.index.move import move_index
    from rubrika.terminal import Terminal

    moved = move_index(index, server, api_key(), Terminal())
    where = f"{server.server}, collection {server.collection}" if server else str(index)
    counts = f"{moved.total:,} products, {moved.copied:,} copied, {moved.skipped:,} were there already"
    answer(asdict(moved), as_json, f"{where}: {counts}")
