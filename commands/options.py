"""The options that commands share: what they are called, and what they come to."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rubrika.index.folder import Choice
    from rubrika.products.images import PictureFolder
    from rubrika.store.connection import Connection

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
MaxError = Annotated[
    float, typer.Option("--max-error", min=0, max=1, help="The part of automatic answers that may be wrong.")
]
GroupBy = Annotated[
    str | None,
    typer.Option("--group-by", metavar="COLUMN", help="Hold out whole groups: rows alike in this column."),
]
Holdout = Annotated[float, typer.Option("--holdout", min=0, max=1, help="The part of the products held out.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Chooses what is drawn at random.")]

INDEX = Path("rubrika-index")
MAX_ERROR = 0.02
CACHE = Path("~/.cache/rubrika")


def answer(found: dict[str, Any], as_json: bool, text: str) -> None:
    """The result, on stdout: one JSON object, or what a person reads."""
    typer.echo(json.dumps(found, ensure_ascii=False) if as_json else text)


def server_of(url: str | None, collection: str | None) -> "Connection | None":
    """The server that was asked for, if any."""
    from rubrika.store.connection import Connection

    if collection and not url:
        raise typer.BadParameter("--collection is on a server: say which with --url or QDRANT_URL")
    return Connection(url, collection or "products", api_key(), assumed=not collection) if url else None


def api_key() -> str | None:
    """The server's key comes from the environment alone: command lines are seen by others."""
    return os.environ.get("QDRANT_API_KEY") or None


def pictures_of(images: Path | None) -> "PictureFolder | None":
    """The pictures of a folder, if one is given."""
    from rubrika.products.images import PictureFolder

    return PictureFolder.scan(images) if images else None


def choice_of(
    text: str | None,
    image: str | None,
    backend: Literal["torch", "onnx-int8"],
    vote: str | None,
    images: Path | None,
    index: Path | None,
    note: Callable[[str], None],
) -> "Choice":
    """What was asked for; with pictures and no word on their encoder, the best that can be had here."""
    from rubrika.index.folder import Choice, completed

    if image and not images:
        raise typer.BadParameter("--image-encoder needs --images, the folder of the pictures")
    if vote in ("image", "late") and not images:
        raise typer.BadParameter(f"--vote {vote} needs --images, the folder of the pictures")
    return completed(Choice(text, image, backend, vote), index, images is not None, note)


def without_pictures(index: Path, images: Path | None, note: Callable[[str], None]) -> None:
    """Say of an index that has no vector of pictures that those which were given are not used."""
    from rubrika.index.folder import has_index
    from rubrika.index.manifest import IMAGE, Manifest

    if images and has_index(index) and IMAGE not in Manifest.read(index).vectors:
        note(f"{index}: this index has no image vector, so pictures are not used; ingest into a new folder")


def unusable_said(reasons: "Counter[str]") -> str:
    """How many pictures cannot be used, by reason."""
    said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return f"; pictures that cannot be used: {said}" if said else ""


def set_aside_said(count: int, path: Path) -> str:
    """How many rows were set aside, and where they are."""
    return f"; {count:,} rows were set aside, see {path}" if count else ""
