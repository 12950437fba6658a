"""What callers may write, and what it comes to: paths or a DataFrame, a folder of pictures, names of encoders."""

import os
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from rubrika.encode.transformer import Backend
from rubrika.errors import InputError, RubrikaError
from rubrika.index.create import Choice, completed
from rubrika.products.pictures import PictureFolder
from rubrika.products.row import MAX_ID, shown_id
from rubrika.products.selection import Products
from rubrika.store.connection import Connection

if TYPE_CHECKING:
    import pandas as pd

    Source = str | Path | Sequence[str | Path] | pd.DataFrame

Vote = Literal["joint", "text", "image", "late"]


def products_of(given: "Source", labelled: bool) -> Products:
    """Products of a parquet file, of several, or of a DataFrame.

    Args:
        given: one of these.
        labelled: whether every row must carry a category.

    Raises:
        InputError: it is something else.
    """
    import pandas as pd

    if isinstance(given, pd.DataFrame):
        from rubrika.products.frame import Frame

        return Frame(given, labelled)
    from rubrika.products.parquet import Reader

    files = [given] if isinstance(given, str | os.PathLike) else given
    if not isinstance(files, Sequence) or not files or not all(isinstance(file, str | os.PathLike) for file in files):
        raise InputError(
            f"products are the path of a parquet file, a list of paths, or a DataFrame, not {type(given).__name__}"
        )
    return Reader([Path(file) for file in files], labelled)


def pictures_of(images: str | Path | None) -> PictureFolder | None:
    """The pictures of a folder, if one is given."""
    return PictureFolder.scan(Path(images)) if images else None


def asked_of(product_id: int | None, title: str | None, image: str | Path | None) -> int | str | Path:
    """The one thing that neighbours are asked of.

    Raises:
        RubrikaError: none or several were given, or one is not what it should be.
    """
    if sum(each is not None for each in (product_id, title, image)) != 1:
        raise RubrikaError("give one of product_id, title and image")
    if image is not None:
        if not isinstance(image, str | os.PathLike):
            raise RubrikaError(f"image is the path of a picture, not {type(image).__name__}")
        return Path(image)
    if title is not None:
        if not isinstance(title, str):
            raise RubrikaError(f"title is a text, not {type(title).__name__}")
        return title
    if not isinstance(product_id, Integral) or isinstance(product_id, bool) or not 0 <= product_id <= MAX_ID:
        raise RubrikaError(f"product_id is a whole number from 0 to {MAX_ID}, not {shown_id(product_id)}")
    return int(product_id)


def whole(name: str, value: int | None) -> int | None:
    """A number of neighbours, where one was given.

    Raises:
        RubrikaError: it is no whole number from 1.
    """
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise RubrikaError(f"{name} is a whole number, not {value}")
    if value < 1:
        raise RubrikaError(f"{name} is at least 1, not {value}")
    return int(value)


def server_of(url: str | None, collection: str | None, api_key: str | None) -> Connection | None:
    """The server that was asked for, if any."""
    if collection and not url:
        raise RubrikaError(f"collection {collection} is on a server; say which with url")
    return Connection(url, collection or "products", api_key, assumed=not collection) if url else None


def choice_of(
    folder: Path,
    text: str | None,
    image: str | None,
    backend: Backend,
    vote: Vote | None,
    pictures: bool,
) -> Choice:
    """What was asked for of an index; with pictures and no word on their encoder, the best that can be had here.

    Args:
        folder: of the index, which may be there already.
        text: names the text encoder.
        image: names the picture encoder.
        backend: of a pretrained text encoder.
        vote: whose neighbours vote.
        pictures: whether there is a folder of them.

    Raises:
        RubrikaError: something of it needs pictures, or there is no such vote or backend.
    """
    if vote not in (None, *get_args(Vote)):
        raise RubrikaError(f"vote is one of {', '.join(get_args(Vote))}, not {vote}")
    if backend not in get_args(Backend):
        raise RubrikaError(f"backend is one of {', '.join(get_args(Backend))}, not {backend}")
    if not pictures and (image or vote in ("image", "late")):
        asked = "image_encoder" if image else f"vote={vote!r}"
        raise RubrikaError(f"{asked} needs images, the folder of the pictures")
    return completed(Choice(text, image, backend, vote), folder, pictures)
