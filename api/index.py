"""An index of labelled products from Python: `rubrika ingest`, `classify` and `neighbours` as methods."""

import os
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rubrika.api.collect import collect
from rubrika.api.given import Vote, asked_of, choice_of, pictures_of, products_of, server_of, whole
from rubrika.api.predictions import Predictions, checked
from rubrika.encode.transformer import Backend
from rubrika.index.calibration import MAX_ERROR
from rubrika.index.index import Index as Opened
from rubrika.index.index import has_index
from rubrika.ingest.ingest import ingest
from rubrika.ingest.write import IngestReport
from rubrika.progress import Progress
from rubrika.retrieve.classify import classify
from rubrika.retrieve.neighbours import Neighbour, neighbours
from rubrika.store.connection import Connection

if TYPE_CHECKING:
    from rubrika.api.given import Source

CACHE = "~/.cache/rubrika"


class Index:
    """An index folder, or one whose points are on a Qdrant server.

    Open it with `Index.open`, best in a `with` block: as long as its points are in the folder, no other process can
    read or change them while it is open. After `close`, the next call opens it again.
    """

    def __init__(self, folder: Path, cache: Path, server: Connection | None, api_key: str | None) -> None:
        self._folder, self._cache, self._server, self._api_key = folder, cache, server, api_key
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
        if has_index(index._folder):
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
        choice = choice_of(self._folder, text_encoder, image_encoder, backend, vote, pictures is not None)
        self.close()
        return ingest(
            self._folder,
            given,
            pictures=pictures,
            choice=choice,
            image_url=image_url,
            cache=self._cache,
            server=self._server,
            api_key=self._api_key,
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
        return f"Index.open({str(self._folder)!r})"

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
            self._opened = Opened.open(self._folder, self._cache, self._server, self._api_key)
        return self._opened
