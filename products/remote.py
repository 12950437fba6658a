"""Tables in object stores: `s3://bucket/train.parquet` is a path like those of this machine, by fsspec."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from rubrika.errors import InputError, RubrikaError
from rubrika.products.text import first_line

# What reads each kind of store, with the credentials that it finds in the environment; memory is that of this process.
STORES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "memory": "fsspec"}
# As `Path` has it, one slash is as good as two.
_URI = re.compile(rf"({'|'.join(STORES)}):/+(.+)", re.DOTALL)


def located(path: str | os.PathLike[str]) -> Path:
    """The path of a file or folder, here or in an object store; InputError where nothing reads that store.

    >>> str(located("memory:/bucket/train.parquet")), str(located("train.parquet"))
    ('memory://bucket/train.parquet', 'train.parquet')
    """
    found = _URI.fullmatch(str(path))
    if found is None:
        return Path(path).expanduser()
    for package in ("upath", STORES[found[1]]):
        if find_spec(package) is None:
            missing = "universal-pathlib" if package == "upath" else package
            raise InputError(f"{found[1]}://{found[2]}: reading it needs {missing}; pip install {missing}")
    from upath import UPath

    return cast("Path", UPath(f"{found[1]}://{found[2]}"))


def is_remote(path: Path) -> bool:
    """Whether a path is in an object store."""
    return not isinstance(path, Path)


def source_of(path: Path) -> dict[str, Any]:
    """A file as Arrow opens it: of one in an object store only the parts that are asked for are read."""
    remote: Any = path
    return {"source": remote.path, "filesystem": remote.fs} if is_remote(path) else {"source": path}


def size_of(path: Path) -> int:
    """The bytes of a file in an object store; InputError when there is none, or it cannot be reached."""
    with reached(path):
        if path.is_file():
            return path.stat().st_size
    raise InputError(f"{path}: no such file; check the address")


@contextmanager
def reached(path: Path) -> Iterator[None]:
    """Turn whatever an object store, its network and its credentials have to say of a path into an InputError.

    Of this machine, what the system has against it, as a name that is too long.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and not is_remote(path):
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
        if not is_remote(path) or isinstance(error, RubrikaError):
            raise
        reason = first_line(str(error)) or type(error).__name__
        raise InputError(f"{path}: cannot be read ({reason}); check the address and its credentials") from None


def version_of(path: Path) -> bytes:
    """What differs when a file does: a hash of it; in an object store its ETag as a rule, without reading it."""
    remote: Any = path
    if is_remote(path):
        with reached(path):
            return str(remote.fs.ukey(remote.path)).encode()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; InputError when its object store cannot be reached."""
    with reached(path):
        return path.exists()


def matching(path: Path) -> Sequence[Path]:
    """The files of an object store whose address matches a pattern."""
    remote: Any = path
    names = remote.fs.glob(remote.path)
    return [located(f"{remote.protocol}://{name.lstrip('/')}") for name in names if remote.fs.isfile(name)]
