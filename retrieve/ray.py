"""Classifies on Ray: actors that have the index open take parts of files, and write their predictions as parquet."""

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rubrika.errors import InputError, ParameterError, RubrikaError
from rubrika.files import DONE, PART, clear_parts, table_file, writable
from rubrika.index.folder import Index, has_index
from rubrika.index.location import Location
from rubrika.index.manifest import MANIFEST
from rubrika.index.published import fetched
from rubrika.products.images import PictureFolder
from rubrika.products.parts import Part, PartReader, parts_of
from rubrika.products.product import Reject
from rubrika.products.reader import Reader
from rubrika.products.rejects import write_rejects
from rubrika.products.text import first_line
from rubrika.progress import Progress, Silent
from rubrika.retrieve.guarantee import Policy
from rubrika.retrieve.monitor import Tally
from rubrika.retrieve.predictions import (
    ClassifyReport,
    Outputs,
    advice_of,
    details_schema,
    short_schema,
    tables_of,
)
from rubrika.store.connection import Connection

if TYPE_CHECKING:
    from ray.data import Dataset

# A part is read, compared and written at once; an actor that is killed repeats one.
PART_ROWS = 8_192
# In the metadata of a part: of which run it is, and what it counted.
NOTE = b"rubrika.part"


@dataclass(frozen=True, slots=True)
class Ray:
    """Where work is spread to."""

    address: str | None = None  # of a cluster, as `ray.init` takes it; None: as RAY_ADDRESS says, else this machine
    actors: int | None = None  # how many open the index; by default one a processor, and no more than there are parts
    actor_gpus: float = 0.0  # what each of them has of a GPU
    part_rows: int = PART_ROWS

    def check(self, files: Sequence[Path]) -> None:
        """Refuse, before the work, files that cannot be read in parts, and a machine without Ray."""
        if find_spec("ray") is None:
            raise InputError("`ray` needs Ray; pip install 'rubrika[ray]'")
        for file in files:
            if file.suffix.lower() != ".parquet":
                reason = "`ray` reads parquet, of which actors take parts; write it as parquet first"
                raise ParameterError(f"{file}: {reason}")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ray, unless it runs in this process already; whatever goes wrong in it is one sentence."""
        # What its core has to say of a run that goes well, it would say on stderr; and usage would be told to others.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
        import ray.data

        is_ours = not ray.is_initialized()
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        try:
            if is_ours:
                # By itself Ray would join whatever cluster somebody has begun on this machine.
                address = self.address or os.environ.get("RAY_ADDRESS") or "local"
                ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            yield
        except RubrikaError as error:
            # Raised in an actor, it is of a class that Ray made of ours and its own, with a traceback as its text.
            raise _cause(error) or error from None
        except Exception as error:
            raise _cause(error) or RubrikaError(f"Ray: {_last_line(error)}; run the same command again") from None
        finally:
            if is_ours:
                ray.shutdown()

    def spread(self, worker: type, work: object, parts: Sequence[int]) -> "Dataset":
        """What a `worker(work)` makes of each part, by its number; every actor makes one worker."""
        import ray

        processors = int(ray.cluster_resources().get("CPU", 1))
        actors = max(1, min(self.actors or processors, len(parts)))
        # A block a part: what fails is repeated part by part.
        dataset = ray.data.from_items(list(parts), override_num_blocks=len(parts))
        return dataset.map_batches(
            worker,
            fn_constructor_args=(work,),
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=1,
            num_gpus=self.actor_gpus or None,
        )


def without_key(server: Connection) -> Connection:
    """A server as it is told to actors, which have the key from their own environment."""
    if server.api_key and server.api_key != os.environ.get("QDRANT_API_KEY"):
        raise ParameterError(
            "with `ray`, `api_key` is QDRANT_API_KEY in the environment of every machine; set it there"
        )
    return replace(server, api_key=None)


def with_key(server: Connection) -> Connection:
    """The same in an actor."""
    return replace(server, api_key=os.environ.get("QDRANT_API_KEY") or None)


def opened(folder: Path, server: Connection, cache: Path) -> Index:
    """The index, in an actor; on a machine without its folder as it was published."""
    at = Location(folder, with_key(server), cache)
    return Index.open(at if has_index(folder) else fetched(with_key(server), cache))


def write_part(table: pa.Table, path: Path) -> None:
    """Write a part, whole or not at all; one that an actor which was killed has left is replaced."""
    with table_file(path, table.schema) as target:
        target.write_table(table)


@dataclass(frozen=True)
class ClassifyWork:
    """What an actor must know to classify parts."""

    folder: Path
    server: Connection
    cache: Path
    reader: Reader
    parts: Sequence[Part]
    id_type: pa.DataType
    ways: tuple[PictureFolder | None, int | None, Policy, int | None, bool]  # as of `classify`
    exact: bool
    output: Path
    details: Path | None
    rejects: Path
    run: str  # a digest of all this


class Classifier:
    """Has the index open, and classifies parts."""

    def __init__(self, work: ClassifyWork) -> None:
        self._work, self._index = work, opened(work.folder, work.server, work.cache)
        self._index.store.exact = work.exact

    def __call__(self, numbers: Mapping[str, Any]) -> pa.Table:
        """Write the predictions of parts; nothing but their numbers goes on."""
        for number in numbers["item"]:
            self._classify(int(number))
        return pa.table({"part": pa.array(numbers["item"], pa.int64())})

    def _classify(self, number: int) -> None:
        work, tally, rows, rejects, unusable = self._work, Tally(), 0, list[Reject](), Counter[str]()
        details = details_schema(self._index, work.id_type, work.ways[3])
        schema = details if work.details else short_schema(details)
        products = PartReader(work.reader, [work.parts[number]])
        tables = list[pa.Table]()
        for one, table in tables_of(self._index, products, schema, tally, work.ways):
            tables.append(table)
            rejects += one.batch.rejects
            unusable.update(one.failures)
            rows += one.batch.rows
        name, whole = PART.format(number), pa.concat_tables(tables)
        if rejects:
            write_rejects(rejects, work.rejects / name)
        if work.details:
            write_part(whole, work.details / name)
        counted = {"rows": rows, "rejected": len(rejects), "unusable": unusable, "tally": tally.to_dict()}
        note = {NOTE: json.dumps({"run": work.run} | counted).encode()}
        # Last, as it says that the part is done.
        write_part(whole.select(short_schema(details).names).replace_schema_metadata(note), work.output / name)


def classify_on_ray(
    index: Index,
    reader: Reader,
    to: Outputs,
    pictures: PictureFolder | None,
    top_k: int | None,
    policy: Policy,
    level: int | None,
    include_self: bool,
    ray: Ray,
    progress: Progress | None = None,
) -> ClassifyReport:
    """Write the predictions of files as folders of parquet files, whose rows are in order.

    Parts that an interrupted run with the same files, index and options has left are kept.
    """
    started = time.monotonic()
    ray.check(reader.files)
    if index.server is None:
        raise ParameterError(f"`ray` needs an index on a server, which many can read; push {index.folder} to one first")
    parts, _ = parts_of(reader, ray.part_rows), reader.separator
    places = index.folder.absolute(), without_key(index.server), index.cache.absolute()
    ways, exact = (pictures, top_k, policy, level, include_self), index.store.exact
    outputs = to.output.absolute(), to.details and to.details.absolute(), to.rejects.absolute()
    files = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in reader.files]
    changed = (index.folder / MANIFEST).stat().st_mtime_ns
    read_from = *places, pictures and pictures.folder, reader.columns.names
    run = sha256(repr((files, changed, *read_from, ways[1:], exact, outputs, ray.part_rows)).encode()).hexdigest()
    work = ClassifyWork(*places, reader, parts, reader.id_type(), ways, exact, *outputs, run)
    _clear(work)
    todo = [number for number in range(len(parts)) if _note(work, number) is None]
    with (progress or Silent()).stage("classifying", len(reader)) as advance, ray.running():
        if todo:
            for _ in ray.spread(Classifier, work, todo).iter_batches(batch_size=None):
                advance(ray.part_rows)
    tally, counts, unusable = Tally(), Counter[str](), Counter[str]()
    for number in range(len(parts)):
        note = _note(work, number)
        if note is None:
            raise RubrikaError(f"{to.output / PART.format(number)}: not there; every machine must have that folder")
        counts.update({name: note[name] for name in ("rows", "rejected")})
        unusable.update(note["unusable"])
        tally.add_dict(note["tally"])
    with writable(to.output):
        (to.output / DONE).touch()
    return ClassifyReport(
        counts["rows"],
        (),
        round(time.monotonic() - started, 3),
        to.output,
        tally.figures(),
        advice_of(index, policy, level),
        None if pictures is None else unusable,
        to.rejects if counts["rejected"] else None,
        counts["rejected"],
    )


def _clear(work: ClassifyWork) -> None:
    """Begin anew, unless what is there was left by an interrupted run of this."""
    folders = [folder for folder in (work.output, work.details, work.rejects) if folder]
    is_same = any(_note(work, number) for number in range(len(work.parts)))
    if (work.output / DONE).exists() or not is_same:
        for folder in folders:
            clear_parts(folder)


def _note(work: ClassifyWork, number: int) -> dict[str, Any] | None:
    """What a part that this run has written counted; None: it has not."""
    try:
        note = json.loads((pq.read_schema(work.output / PART.format(number)).metadata or {})[NOTE])
        return dict(note) if note["run"] == work.run else None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _cause(error: BaseException | None) -> RubrikaError | None:
    """Our own error, raised in an actor, among what Ray has made of it."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, RubrikaError) and type(error).__module__.startswith("rubrika."):
            # Ray has added its own advice, line by line.
            error.args = (first_line(str(error)),)
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
