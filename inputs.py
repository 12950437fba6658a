"""What callers may write, and what it comes to: files or a DataFrame, pictures, a query, a choice of encoders."""

import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from getpass import getuser
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rubrika.encode.text import Backend, Pooling
from rubrika.errors import InputError, ParameterError
from rubrika.files import read_bounded
from rubrika.index.categories import Called, known_in
from rubrika.index.folder import Choice, completed, has_index
from rubrika.index.location import Location
from rubrika.index.manifest import MAX_TOP_K, Manifest
from rubrika.index.published import fetched
from rubrika.products.columns import Columns
from rubrika.products.convert import converts
from rubrika.products.frame import Frame, is_table
from rubrika.products.identity import MAX_ID, MAX_SIGNED, identity, shown_id
from rubrika.products.images import PictureFolder
from rubrika.products.product import Kept
from rubrika.products.reader import Reader, tables_in
from rubrika.products.remote import located
from rubrika.products.row import MAX_PERSON
from rubrika.products.table import read_ids
from rubrika.products.text import RowError, first_line, one_line, shortened
from rubrika.store.connection import Connection, Transport

if TYPE_CHECKING:
    from rubrika.ingest.ray import Spread
    from rubrika.retrieve.ray import Ray

    Files = str | Path | Sequence[str | Path]
    Source = Any  # Files, a DataFrame, or another table in memory
    ColumnNames = str | Mapping[str, str | Sequence[str]] | None

Place = str | Path
MAX_TOML = 100_000
Vote = Literal["joint", "text", "image", "late"]


def location_of(
    folder: Place | None,
    url: str | None,
    collection: str | None,
    api_key: str | None,
    cache: Place,
    ca_cert: Place | None = None,
    adopt: bool = False,
) -> Location:
    """Where an index is; the key and what TLS needs come from the environment unless they are given.

    Without a folder it is what a server has, if it was published there.
    """
    if collection and not url:
        raise ParameterError(f"collection {collection} is on a server: say which with `url` or QDRANT_URL")
    key = api_key or os.environ.get("QDRANT_API_KEY") or None
    transport = Transport.of(os.environ, Path(ca_cert).expanduser() if ca_cert else None)
    to = {"assumed": not collection, "adopt": adopt}
    server = Connection(url, collection or "products", key, transport=transport, **to) if url else None
    if folder is None:
        if server is None:
            raise ParameterError("an index without a folder is on a server: say which with `url` or QDRANT_URL")
        return fetched(server, Path(cache).expanduser())
    return Location(Path(folder).expanduser(), server, Path(cache).expanduser(), key, transport)


def products_of(
    source: "Source", labelled: bool, group_by: str | None = None, columns: Columns | None = None
) -> Reader | Frame | Kept:
    """Products of a file, of several, or of a table in memory; `group_by` is the column of their groups."""
    columns = columns or Columns()
    if isinstance(source, Kept):
        return source
    if is_table(source):
        return Frame.of(source, labelled, group_by, columns)
    return Reader(paths_of(source), labelled, group_by=group_by, columns=columns)


def columns_of(
    columns: "ColumnNames", separator: str | None, folder: Path | None = None, labelled: bool = False
) -> Columns:
    """How columns are called: as given, else as rubrika.toml in the working folder says, else as the index knows.

    Of rows that are `labelled` for an index, its categories are known too.
    """
    given = Columns.of(columns, separator).after(_configured(Path("rubrika.toml")))
    if folder is None or not has_index(folder):
        return given
    known = known_in(folder) if labelled else None
    return replace(given.after(Manifest.read(folder).tables.as_columns()), known=known)


def _configured(file: Path) -> Columns:
    try:
        found = tomllib.loads(read_bounded(file, MAX_TOML).decode())
        if unknown := found.keys() - {"columns", "path_separator"}:
            raise ParameterError(f"it has {min(unknown)}, and only `columns` and `path_separator` are known")
        return Columns.of(found.get("columns"), found.get("path_separator"))
    except FileNotFoundError:
        return Columns()
    except (OSError, ValueError, TypeError, AttributeError, ParameterError) as error:
        raise InputError(f"{file}: cannot be used ({first_line(str(error))}); correct it") from None


def paths_of(source: object) -> list[Path]:
    """One path or several: of folders and patterns, the tables in them."""
    files = [source] if isinstance(source, str | os.PathLike) else source
    if not isinstance(files, Sequence) or not files or not all(isinstance(file, str | os.PathLike) for file in files):
        what = "products are the path of a table, a list of paths, or a DataFrame or other table in memory"
        raise InputError(f"{what}, not {type(source).__name__}")
    return [path for file in files for path in tables_in(located(file))]


def spread_of(ray: "Ray | None", source: Reader | Frame | Kept, rejects: Path) -> "Spread | None":
    """How Ray's actors write products, where they do; rows that are set aside go to the folder `rejects`."""
    if ray is None:
        return None
    if not isinstance(source, Reader):
        raise ParameterError("`ray` reads files, of which actors take parts; write the table to a parquet file first")
    ray.check(source.files)
    # Imported where Ray is known to be there.
    from rubrika.ingest.ray import Spread

    return Spread(ray, source, rejects)


def pictures_of(images: str | Path | None, products: Reader | Frame | Kept | None = None) -> PictureFolder | None:
    """The pictures of a folder, if one is given, or else those in the rows of products."""
    if images:
        return PictureFolder.scan(Path(images).expanduser())
    return PictureFolder(None) if products is not None and products.pictured else None


def picture_folders(images: Sequence[str | Path]) -> list[PictureFolder]:
    """The pictures of several folders, the first before the others."""
    return [PictureFolder.scan(Path(folder).expanduser()) for folder in images]


def choice_of(
    text: str | None,
    image: str | None,
    backend: Backend,
    pooling: Pooling | None,
    vote: Vote | None,
    pictures: bool,
    folder: Path | None,
    note: Callable[[str], None],
) -> Choice:
    """The encoders and the vote of a new index; with pictures, the best picture encoder that is installed."""
    for name, value, kind in (("vote", vote, Vote), ("backend", backend, Backend), ("pooling", pooling, Pooling)):
        # Only the backend has no «as the model was made».
        if value not in get_args(kind) and (value is not None or kind is Backend):
            raise ParameterError(f"`{name}` is one of {', '.join(get_args(kind))}, not {value}")
    if not pictures and (image or vote in ("image", "late")):
        option = "`image_encoder`" if image else f"`vote` {vote}"
        raise ParameterError(f"{option} needs `images`, the folder of the pictures")
    return completed(Choice(text, image, backend, pooling, vote), folder, pictures, note)


def person_of(by: object) -> str:
    """Who sets labels: the name given, or else that of the user as the system knows it."""
    if by is None:
        try:
            by = getuser()
        except (OSError, KeyError, ImportError):  # As in a container whose user has no name.
            by = "unknown"
    name = shortened(one_line(by), MAX_PERSON) if isinstance(by, str) else ""
    if not name:
        raise ParameterError("`by` is the name of a person, and not empty")
    return name


def query_of(product_id: object, title: object, image: object) -> int | str | Path | bytes:
    """The one thing whose neighbours are wanted."""
    if sum(each is not None for each in (product_id, title, image)) != 1:
        raise ParameterError("give one of `product_id`, `title` and `image`")
    if image is not None:
        return picture_of(image)
    if title is not None:
        if not isinstance(title, str):
            raise ParameterError(f"`title` is a text, not {type(title).__name__}")
        return title
    return product_id_of(product_id)


def picture_of(image: object) -> Path | bytes:
    """A picture by its path, or its bytes."""
    if not isinstance(image, str | os.PathLike | bytes):
        raise ParameterError(f"`image` is the path of a picture, or its bytes, not {type(image).__name__}")
    return image if isinstance(image, bytes) else Path(image)


def product_id_of(value: object) -> int:
    """The number of a product id, which may be a text."""
    if not isinstance(value, str):
        return id_of("product_id", value, MAX_ID)
    try:
        return identity("product_id", value)[0]
    except RowError as error:
        raise ParameterError(f"`product_id`: {error}") from None


def category_id_of(name: str, value: object, folder: Path) -> int:
    """The number of a category of an index, by its id, its label or its path."""
    if not isinstance(value, str):
        return id_of(name, value)
    try:
        return Called.of(folder, Manifest.read(folder).tables.separator).number(value)
    except RowError as error:
        raise ParameterError(f"`{name}`: {error}") from None


def id_of(name: str, value: object, largest: int = MAX_SIGNED) -> int:
    """An id, by default of a category."""
    if not isinstance(value, Integral) or isinstance(value, bool) or not 0 <= int(value) <= largest:
        raise ParameterError(f"`{name}` is a whole number from 0 to {largest}, not {shown_id(value)}")
    return int(value)


def ids_of(value: object) -> list[int]:
    """A product id, those in a file, or several such, each id once."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        found = [id for each in value for id in ids_of(each)]
    elif isinstance(value, os.PathLike) or (isinstance(value, str) and is_table_file(value)):
        found = read_ids(Path(value))
    else:
        found = [product_id_of(value)]
    return list(dict.fromkeys(found))


def labels_of(labels: Mapping[int | str, int | str | None], folder: Path) -> dict[int, int | None]:
    """Products and their categories by number; None is the category that a product has."""
    return {
        product_id_of(id): None if category is None else category_id_of("category_id", category, folder)
        for id, category in labels.items()
    }


def is_table_file(text: str) -> bool:
    """Whether a text is the path of a table rather than an id."""
    # An id may be longer than the name of any file.
    return os.path.exists(text) or Path(text).suffix.lower() == ".parquet" or converts(Path(text))


def count_of(name: str, value: object, most: float = MAX_TOP_K) -> int | None:
    """A number, by default of hits, where one is given."""
    if value is None:
        return None
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ParameterError(f"`{name}` is a whole number, not {value}")
    if not 1 <= int(value) <= most:
        limit = "at least 1" if int(value) < 1 else f"at most {most:,}"
        raise ParameterError(f"`{name}` is {limit}, not {value}")
    return int(value)


def seed_of(seed: object) -> int:
    """What chooses what is drawn at random."""
    if not isinstance(seed, Integral) or isinstance(seed, bool) or not 0 <= int(seed) < 2**63:
        raise ParameterError(f"`seed` is a whole number from 0, not {seed}")
    return int(seed)


def bounds_of(texts: Sequence[str]) -> dict[str, float]:
    """The least that figures of an evaluation are to be, each as `weighted_f1=0.9`."""
    from rubrika.eval.evaluate import NUMBERS

    bounds = dict[str, float]()
    for text in texts:
        name, _, number = text.partition("=")
        if name not in NUMBERS:
            bounded = "a figure can be bounded if more of it is better"
            raise ParameterError(f"`fail_below` cannot take {shown_id(name)}; {bounded}: {', '.join(NUMBERS)}")
        with suppress(ValueError):
            bounds[name] = float(number)
        if not math.isfinite(bounds.get(name, math.nan)):
            raise ParameterError(f"`fail_below` is as {name}=0.9, not {shown_id(text)}")
    return bounds
