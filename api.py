"""Rubrika from Python: an index of labelled products, with every operation as a method."""

import os
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, get_args

from rubrika.encode.text import Backend
from rubrika.errors import InputError, RubrikaError
from rubrika.index.folder import Choice, completed, has_index
from rubrika.index.folder import Index as Opened
from rubrika.index.location import Location
from rubrika.index.manifest import MAX_ERROR
from rubrika.ingest.ingest import ingest
from rubrika.ingest.write import IngestReport
from rubrika.products.images import PictureFolder
from rubrika.products.product import Products
from rubrika.products.row import MAX_ID, shown_id
from rubrika.progress import Progress
from rubrika.retrieve.classify import classify
from rubrika.retrieve.predictions import Predictions, checked, collect
from rubrika.retrieve.search import Neighbour, neighbours
from rubrika.store.connection import Connection

if TYPE_CHECKING:
    import pandas as pd

if TYPE_CHECKING:
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
        from rubrika.products.reader import Frame

        return Frame(given, labelled)
    from rubrika.products.reader import Reader

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


CACHE = "~/.cache/rubrika"


class Index:
    """An index folder, or one whose points are on a Qdrant server.

    Open it with `Index.open`, best in a `with` block: as long as its points are in the folder, no other process can
    read or change them while it is open. After `close`, the next call opens it again.
    """

    def __init__(self, folder: Path, cache: Path, server: Connection | None, api_key: str | None) -> None:
        self._at = Location(folder, server, cache, api_key)
        self._opened: Opened | None = None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        url: str | None = None,
        collection: str | None = None,
        api_key: str | None = None,
        cache: str | Path = CACHE,
    ) -> "Index":
        """Open an index; where there is none yet, the first `ingest` makes it.

        Args:
            folder: the index folder, with the manifest and the encoders also when a server has the points.
            url: of a Qdrant server that has the points, or shall have those of a new index; left out: where the index
                says, and for a new one the folder.
            collection: on that server, by default `products`.
            api_key: of the server, by default the environment's QDRANT_API_KEY.
            cache: a folder for vectors of pretrained encoders.

        Raises:
            IndexFolderError: what is there is damaged, or was made by a newer Rubrika.
            StoreError: another process holds the points, or the server cannot be reached.
        """
        key = api_key or os.environ.get("QDRANT_API_KEY") or None
        index = cls(Path(folder), Path(cache).expanduser(), server_of(url, collection, key), key)
        if has_index(index._at.folder):
            index._index()
        return index

    def ingest(
        self,
        products: "Source",
        images: str | Path | None = None,
        *,
        text_encoder: str | None = None,
        image_encoder: str | None = None,
        backend: Backend = "torch",
        vote: Vote | None = None,
        image_url: str | None = None,
        strict: bool = False,
        delete_missing: bool = False,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Put labelled products into the index, learning its encoder first when it is new.

        The index remembers files, so that `rubrika learn` and `rubrika check` find the texts again. A DataFrame leaves
        nothing to remember: to learn again, save it as parquet and name that file.

        Args:
            products: the path of a parquet file, a list of paths, or a DataFrame, with the columns of docs/data.md;
                in a DataFrame `text_fields` may hold dictionaries.
            images: the folder of their pictures, each named by its product_id.
            text_encoder: for a new index, `learned` by default; else as `rubrika ingest --text-encoder` takes it.
            image_encoder: for a new index with pictures; by default the best that can be had here.
            backend: runs a pretrained text encoder.
            vote: for a new index, whose neighbours vote.
            image_url: where the folder of pictures is served, for Qdrant's web UI.
            strict: fail at the first row that would be set aside.
            delete_missing: delete products of which `products` has no row, good or bad.
            progress: where to show how far it is.

        Returns:
            What became of every row; those set aside are in `rejects`, with their place and reason.

        Raises:
            RubrikaError: in one sentence, what cannot be read, learned, or written.
        """
        given, pictures = products_of(products, labelled=True), pictures_of(images)
        choice = choice_of(self._at.folder, text_encoder, image_encoder, backend, vote, pictures is not None)
        self.close()
        return ingest(
            self._at,
            given,
            pictures=pictures,
            choice=choice,
            image_url=image_url,
            strict=strict,
            delete_missing=delete_missing,
            progress=progress,
        )

    def classify(
        self,
        products: "Source",
        images: str | Path | None = None,
        *,
        top_k: int | None = None,
        max_error: float = MAX_ERROR,
    ) -> Predictions:
        """Predict the category of every product; they are held in memory, some 400 bytes a product.

        Args:
            products: as for `ingest`; labels are not looked at, and need not be there.
            images: the folder of their pictures.
            top_k: how many neighbours vote, by default what the index says.
            max_error: the part of automatic answers that may be wrong.

        Raises:
            RubrikaError: in one sentence, what cannot be read or searched.
        """
        count, bound = whole("top_k", top_k), checked(max_error)
        given = products_of(products, labelled=False)
        given.check()
        found = self._index()
        vote = found.manifest.vote
        vote = replace(vote, top_k=count or vote.top_k)
        run = classify(found, given, pictures_of(images), count, bound)
        return collect(run, found.manifest.calibration, vote)

    def neighbours(
        self,
        product_id: int | None = None,
        *,
        title: str | None = None,
        image: str | Path | None = None,
        top_k: int = 10,
        vector: str | None = None,
    ) -> list[Neighbour]:
        """The labelled products most like one, best first; a stored product itself is left out.

        Args:
            product_id: of a stored product; or give a title, or a picture.
            title: of any product.
            image: the path of a picture.
            top_k: how many.
            vector: the named vector to go by: text, image or joint; by default image for a picture, else text.

        Raises:
            RubrikaError: not one of the three was given, or it cannot be found.
        """
        asked, count = asked_of(product_id, title, image), whole("top_k", top_k) or 1
        return neighbours(self._index(), asked, vector, count)

    def close(self) -> None:
        """Let other processes in."""
        if self._opened is not None:
            self._opened.store.close()
            self._opened = None

    def __repr__(self) -> str:
        return f"Index.open({str(self._at.folder)!r})"

    def __enter__(self) -> "Index":
        """Use as `with Index.open(folder) as index`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _index(self) -> Opened:
        if self._opened is None:
            self._opened = Opened.open(self._at)
        return self._opened
