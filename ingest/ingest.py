"""Puts labelled products into an index, learning its encoder first when it is new."""

import hashlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubrika import __version__
from rubrika.encode.registry import picture_encoder, text_encoder
from rubrika.errors import IndexFolderError, InputError, StoppedError
from rubrika.files import check_room, parquet
from rubrika.index.encoders import Encoders
from rubrika.index.folder import (
    LATE,
    LEARNED,
    Choice,
    Index,
    changing,
    check_free,
    create_index,
    has_index,
    remember,
    writing,
)
from rubrika.index.location import Location
from rubrika.index.manifest import IMAGE, TEXT, Manifest, VoteSettings
from rubrika.ingest.write import IngestReport, Writer, deletion_blocker, stored_vectors
from rubrika.ingest.write import delete_missing as prune
from rubrika.products.images import PictureFolder
from rubrika.products.product import Products, Reject, Selection
from rubrika.progress import Interrupt, Progress, Silent
from rubrika.retrieve.search import search_products
from rubrika.store.base import Store
from rubrika.vote import fused_vote, weighted_vote


def fingerprint(files: Sequence[Path], options: tuple[object, ...]) -> str:
    """A digest of all that an ingest without pictures depends on.

    Args:
        files: parquet files, in their order.
        options: whatever else changes what it does, told apart by what `repr` says of it.
    """
    digest = hashlib.sha256(repr((__version__, options)).encode())
    for path in files:
        digest.update(str(path.absolute()).encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


_SCHEMA = pa.schema([("file", pa.string()), ("row", pa.int64()), ("product_id", pa.string()), ("reason", pa.string())])


def default_reject_path(place: Path) -> Path:
    """Where rows set aside go when nobody says: next to `place`, which may be `.` or end in `..`."""
    whole = Path(os.path.abspath(place))
    return whole.parent / f"{whole.name}.rejects.parquet"


def write_rejects(rejects: Iterable[Reject], path: Path) -> None:
    """Write one row a reject.

    Raises:
        RubrikaError: it cannot be written there.
    """
    rows = [{"file": str(r.file), "row": r.row, "product_id": r.product_id, "reason": r.reason} for r in rejects]
    with parquet(path, _SCHEMA) as target:
        target.write_table(pa.Table.from_pylist(rows, _SCHEMA))


HELD_BACK = 10
WEIGHTS = np.linspace(0, 1, 21)


def late_fusion(
    products: Products, pictures: PictureFolder | None, choice: Choice, cache: Path, progress: Progress
) -> VoteSettings:
    """Hold every tenth product back, classify it by the others, and take the weights that are right most often."""
    count = sum(len(batch.products) for batch in products)
    held_back = np.arange(count) % HELD_BACK == 0
    rest = Selection(products, ~held_back)
    both = VoteSettings({TEXT: 0.5, IMAGE: 0.5})
    with TemporaryDirectory(prefix="rubrika-late-") as folder:
        encoders = prepare(rest, pictures, choice, cache, progress)
        create_index(Path(folder), choice, encoders, both)
        with Index.open(Location(Path(folder), cache=cache)) as index:
            writer = Writer(index, pictures, IngestReport(), "")
            for batch in rest:
                writer.write(batch)
            found = list(search_products(index, Selection(products, held_back), pictures))
    truth = [product.category.id for one in found for product in one.batch.products if product.category]
    right = np.zeros(len(WEIGHTS))
    for place, share in enumerate(WEIGHTS):
        parts = [
            fused_vote([(weighted_vote(one.hits[name], both.temperature), w) for name, w in _pair(share).items()])
            for one in found
        ]
        right[place] = np.mean(np.concatenate([votes.winners for votes in parts]) == truth)
    # Among equals the middle one, as far from trusting one side alone as the others allow.
    best = np.flatnonzero(right == right.max())
    return VoteSettings(_pair(WEIGHTS[best[len(best) // 2]]))


def _pair(image: float) -> dict[str, float]:
    return {TEXT: round(1 - float(image), 2), IMAGE: round(float(image), 2)}


Vectors = Mapping[str, NDArray[np.float16]]


def prepare(
    products: Products,
    pictures: PictureFolder | None,
    choice: Choice,
    cache: Path,
    progress: Progress,
    store: Store | None = None,
) -> Encoders:
    """Load and learn.

    Args:
        products: labelled products.
        pictures: where their pictures are, if anywhere.
        choice: what the user asked for.
        cache: a folder for vectors of pretrained encoders.
        progress: where to show how far it is.
        store: has these products already, and their vectors by encoders that are not learned.

    Raises:
        EncoderError: an encoder cannot be loaded, or there is too little to learn from.
    """
    # Imported here: learning needs torch, which takes seconds to load, and a daily ingest needs no learning.
    from rubrika.train.embed import Input, learn

    image = picture_encoder(choice.image, cache) if choice.image else None
    learned = choice.text in (None, LEARNED)
    text = learn(products, progress) if learned else text_encoder(str(choice.text), backend=choice.backend, cache=cache)
    encoders = Encoders(text, image, None, cache)
    if not choice.learns_joint:
        return encoders
    # A learned text vector has seen the labels already: among its inputs it would drown out the pictures.
    names = [*([IMAGE] if image else []), *([] if learned else [TEXT])]
    vectors = _vectors(products, pictures, encoders, names, progress, store)
    inputs = {name: Input.of(rows) for name, rows in vectors.items()}
    return Encoders(text, image, learn(products, progress, inputs=inputs), cache)


def _vectors(
    products: Products,
    pictures: PictureFolder | None,
    encoders: Encoders,
    names: list[str],
    progress: Progress,
    store: Store | None,
) -> Vectors:
    parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in names}
    with progress.stage(f"encoding {' and '.join(names) or 'nothing'}", len(products)) as advance:
        for batch in products if names else ():
            if store is None:
                made = encoders.encode(batch.products, pictures, names).vectors
            else:
                sizes = {name: encoders.sizes[name] for name in names}
                made = stored_vectors(store, [product.id for product in batch.products], sizes)
            for name in names:
                parts[name].append(made[name].astype(np.float16))
            advance(batch.rows)
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def ingest(
    at: Location,
    products: Products,
    *,
    pictures: PictureFolder | None = None,
    choice: Choice | None = None,
    image_url: str | None = None,
    strict: bool = False,
    delete_missing: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring every labelled product into the index, making the index when there is none.

    Args:
        at: where the index is, and where the points of a new one go.
        products: labelled products; read several times when the index is new, once otherwise.
        pictures: where their pictures are, if anywhere.
        image_url: where the folder of pictures is served, for Qdrant's web UI to show them.
        choice: the encoders and the vote of a new index; None: the defaults, or what the index has.
        strict: fail at the first row that would be set aside.
        delete_missing: remove stored products of which the files have no row, good or bad.
        progress: where to show how far it is.

    Raises:
        InputError: a file cannot be read, or `strict` met a bad row.
        EncoderError: an encoder cannot be loaded, or there is too little to learn from.
        IndexFolderError: the index was made with other encoders than those chosen, or another process changes it.
        StoppedError: Ctrl-C or SIGTERM; what was written until then is safe, and the same call goes on from there.
    """
    started, progress, folder = time.monotonic(), progress or Silent(), at.folder
    products.check()
    report = IngestReport()
    with writing(folder, "ingest"):
        if has_index(folder):
            _check_choice(folder, choice)
        else:
            if at.server is None:
                check_room(folder)
            _create(at, products, pictures, choice or Choice(), progress)
        # Pictures, and products that are in no file, are not worth a digest: they are compared one by one.
        worth = products.files and pictures is None
        # Of the files before they are read: what somebody changes meanwhile is then seen the next time.
        given = fingerprint(products.files, (at.server, image_url, delete_missing)) if worth else None
        if given and _is_done(at, given):
            rows = len(products)
            return replace(report, read=rows, unchanged=rows, seconds=round(time.monotonic() - started, 3))
        with changing(at, products.files) as index:
            writer = Writer(index, pictures, report, datetime.now(UTC).isoformat(timespec="seconds"), image_url)
            _write(index, writer, products, report, strict, progress)
            place = str(products.files[0]) if products.files else "the products"
            blocked = deletion_blocker(writer.seen, report.rejects, place) if delete_missing else None
            if delete_missing and not blocked:
                report.deleted = prune(index.store, writer.seen, report.rejects)
            with progress.stage("optimising the store", 1) as advance:
                index.store.optimise()
                advance(1)
        # Said last: what could be read is in the index by now.
        if blocked:
            raise InputError(blocked)
        # Rows that were set aside are to be told again the next time.
        if given and not report.rejects:
            remember(folder, given)
    report.seconds = round(time.monotonic() - started, 3)
    return report


def _create(
    at: Location, products: Products, pictures: PictureFolder | None, choice: Choice, progress: Progress
) -> None:
    check_free(at.folder)
    vote = choice.settings
    if choice.vote == LATE:
        vote = late_fusion(products, pictures, choice, at.cache, progress)
    create_index(at.folder, choice, prepare(products, pictures, choice, at.cache, progress), vote, at.server)


def _is_done(at: Location, given: str) -> bool:
    """Whether the last change of the index was this very ingest, and its points are all there."""
    contents = Manifest.read(at.folder).contents
    if contents.fingerprint != given:
        return False
    with Index.open(at) as index:
        return index.store.count() == contents.products


def _write(
    index: Index, writer: Writer, products: Products, report: IngestReport, strict: bool, progress: Progress
) -> None:
    rows = len(products)
    with Interrupt() as interrupt, progress.stage("writing products", rows) as advance:
        for batch in products:
            writer.write(batch)
            if strict and report.rejects:
                first = report.rejects[0]
                raise InputError(f"{first.file} row {first.row}: {first.reason}; mend it, or run without --strict")
            advance(batch.rows)
            if index.server is None:
                check_room(index.folder)
            if interrupt.requested and report.read < rows:
                index.store.flush()
                raise StoppedError(
                    f"stopped as asked: {report.read:,} of {rows:,} rows are in {index.folder}; "
                    f"run the same command again to go on"
                )


def _check_choice(folder: Path, choice: Choice | None) -> None:
    if choice is None:
        return
    made = Manifest.read(folder).vectors
    for name, asked in ((TEXT, choice.text), (IMAGE, choice.image)):
        has = made[name].encoder if name in made else None
        if asked is not None and asked != has:
            raise IndexFolderError(
                f"{folder}: its {name} vectors are made by {has or 'nothing'}, not by {asked}; "
                f"ingest into a new folder, or leave the encoder out"
            )
