"""What the commands share: an index from its options, arguments from a context, and results on standard output."""

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from rubrika import display
from rubrika.errors import ParameterError, RubrikaError
from rubrika.store.connection import ServerOptions

if TYPE_CHECKING:
    from rubrika.api import Index
    from rubrika.retrieve.ray import Ray

# The options that say how points are on a server.
LAYOUT = tuple(each.name for each in fields(ServerOptions))
# Those that say where work is spread to.
ON_RAY = ("ray", "ray_address", "actors", "actor_gpus")


def open_index(
    folder: Path, url: str | None, collection: str | None, cache: Path, ca_cert: Path | None = None, reads: bool = False
) -> "Index":
    """The index, which opens when something is asked of it; what only `reads` takes one from its server, too."""
    from rubrika.api import Index
    from rubrika.index.folder import has_index
    from rubrika.inputs import location_of

    where = None if reads and url and not has_index(folder) else folder
    return Index(location_of(where, url, collection, None, cache, ca_cert), display.Terminal(spelled))


def leave_stdout(output: Path | None, as_json: bool) -> None:
    """Refuse two outputs on one stream."""
    if as_json and str(output) == "-":
        raise ParameterError("`output` - and `json` would both go to standard output; leave one of them out")


def leave_out(context: typer.Context, names: tuple[str, ...], reason: str) -> None:
    """Refuse options that were given though they have no say here."""
    sources = {name: context.get_parameter_source(name) for name in names}
    chosen = ", ".join(f"`{name}`" for name, source in sources.items() if source and source.name != "DEFAULT")
    if chosen:
        raise ParameterError(f"{reason}; leave out {chosen}")


def arguments_of(context: typer.Context, *without: str) -> dict[str, Any]:
    """The options of a command, which are the arguments of its operation, under the same names."""
    return {name: value for name, value in context.params.items() if name not in (*without, "as_json")}


def layout_of(context: typer.Context) -> ServerOptions:
    """How points are to be laid out on a server, by the options of a command."""
    return ServerOptions(**{name: context.params[name] for name in LAYOUT})


def ray_of(context: typer.Context) -> "Ray | None":
    """Where work is spread to, by the options of a command; None: it is done here."""
    from rubrika.retrieve.ray import Ray

    if not context.params["ray"]:
        # The address may be in the environment for other programs.
        leave_out(context, ("actors", "actor_gpus"), "they are said of `ray`")
        return None
    return Ray(*(context.params[name] for name in ON_RAY[1:]))


def print_result(result: dict[str, Any], as_json: bool, text: Callable[[], str], aside: bool = False) -> None:
    """The result on stdout: one JSON object, or what a person reads; that goes to stderr if it is to stand `aside`."""
    # What another encoding lacks is escaped in JSON, and a question mark to a person.
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    try:
        typer.echo(json.dumps(result, ensure_ascii=not is_utf8) if as_json else text(), err=aside)
    except BrokenPipeError:  # whoever reads has read enough
        raise
    except OSError as error:
        # What could not be flushed is not tried again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise RubrikaError(f"standard output cannot be written ({error.strerror}); send it elsewhere") from None


def spelled(message: str) -> str:
    """A message in which parameters, named as Python knows them, are the options of this command line."""
    names = {"source": "--from", "target": "--to", "page": "--open"}
    names |= {"product_id": "PRODUCT_ID", "category_id": "CATEGORY_ID"}
    names |= {"hnsw_m": "--graph-links", "ef_construct": "--graph-effort", "hnsw_ef": "--search-effort"}
    name = re.compile(r"`([a-z]+(?:_[a-z]+)*)`")
    return name.sub(lambda found: names.get(found[1], f"--{found[1].replace('_', '-')}"), message)
