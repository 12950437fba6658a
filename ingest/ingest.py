"""Puts labelled products into an index, learning its encoder first when it is new."""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rubrika import __version__
from rubrika.encode.base import Encoder
from rubrika.encode.registry import picture_encoder, text_encoder
from rubrika.errors import IndexFolderError, InputError, ParameterError, StoppedError
from rubrika.files import check_room
from rubrika.index.categories import Names, names_of, read_names, write_names
from rubrika.index.encoders import Encoders
from rubrika.index.folder import (
    LEARNED,
    Choice,
    Index,
    changing,
    check_free,
    forget_learned,
    has_index,
    kept_encoders,
    lay_out,
    writing,
)
from rubrika.index.location import Location
from rubrika.index.manifest import FORMAT, IMAGE, SERVER, TEXT, Manifest, Tables
from rubrika.index.published import publish
from rubrika.index.versions import collection_for
from rubrika.ingest.calibrate import calibrate, part_held_out
from rubrika.ingest.diff import is_held_out
from rubrika.ingest.naming import apply, differ, files_in, labels_of, set_categories, settle
from rubrika.ingest.write import IngestError, IngestReport, KeptLabel, Writer, deletion_blocker, prune, stored_vectors
from rubrika.products.frame import Frame
from rubrika.products.images import PictureFolder, unmatched
from rubrika.products.product import SEPARATOR, Filtered, Products, Reject
from rubrika.products.reader import Reader
from rubrika.products.rejects import write_rows
from rubrika.products.remote import version_of
from rubrika.progress import Interrupt, Progress, Silent
from rubrika.store.base import Store
from rubrika.store.connection import ServerOptions
from rubrika.store.open import arrange, check_ready, stands_for, switch_name

if TYPE_CHECKING:
    from rubrika.ingest.ray import Spread


def ingest(
    at: Location,
    products: Products,
    *,
    pictures: PictureFolder | None = None,
    choice: Choice | None = None,
    image_url: str | None = None,
    strict: bool = False,
    delete_missing: bool = False,
    calibrated: bool = True,
    rename: bool = False,
    verified: bool = False,
    by: str = "",
    prepared: Encoders | None = None,
    options: ServerOptions | None = None,
    spread: "Spread | None" = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Bring every labelled product into the index, creating the index when there is none.

    The products are read several times when the index is new, once otherwise; its encoders and vote are those of
    `choice`, None being the defaults or what the index has. `strict` fails at the first row that would be set aside,
    and where a category has several names; `rename` allows that most categories get other names.
    `delete_missing` deletes stored products that have no row in the files, good or bad; an index not `calibrated` makes
    no automatic decisions. `image_url` is where the folder of pictures is served, for Qdrant's web UI. `by` is the
    person who set the categories of rows that say that a person did, as all do with `verified`. `prepared` are the
    encoders of a new index, where they have learned from all of the products already. `options` are for points on a
    server: of a collection that is there, its search and its graph follow them. `spread` has other processes
    write, to a server. StoppedError: Ctrl-C or SIGTERM; what was written until then is safe, and the same call goes on
    from there.
    """
    started, progress, options = time.monotonic(), progress or Silent(), options or ServerOptions()
    products.check()
    with writing(at.folder, "ingest"):
        found = Manifest.read(at.folder) if has_index(at.folder) else None
        if found:
            _check_choice(at.folder, found, choice)
        _check_server(found.store == SERVER if found else bool(at.server), options, spread, strict or delete_missing)
        # Taken before the files are read: a file that is changed meanwhile is noticed the next time.
        digest = _digest(products, pictures, at.server, image_url, delete_missing, verified, options)
        if found and digest and digest == found.contents.fingerprint and _is_whole(at, found):
            rows, seconds = len(products), round(time.monotonic() - started, 3)
            return IngestReport(read=rows, unchanged=rows, deleted=0 if delete_missing else None, seconds=seconds)
        # Settled before anything is written, since it may be refused.
        naming = settle(_known_names(at, found), labels_of(products), files_in(products), strict, rename)
        manifest = found or _create(at, products, pictures, choice or Choice(), progress, prepared, options)
        manifest = replace(manifest, search=options.search_over(manifest.search))
        blocker, report = None, IngestReport()

        def finish(manifest: Manifest) -> Manifest:
            # What was to be said is to be said again the next time.
            known = None if blocker or report.rejected or report.kept or report.name_conflicts else digest
            contents = replace(manifest.contents, fingerprint=known)
            manifest = replace(manifest, contents=contents, tables=_tables(manifest, products, writer))
            return replace(manifest, vote=trusted.vote, calibration=trusted.calibration, format=FORMAT)

        with changing(at, products.files, manifest=manifest, finish=finish) as index:
            naming.note(files_in(products), progress)
            if found and options != ServerOptions() and (kept := arrange(index.store, options)):
                progress.note(f"{at.folder}: {kept}")
            apply(index, naming)
            writer = Writer(index, pictures, image_url, names=dict(naming.names), by=by, verified=verified)
            report = writer.report
            report.renamed, report.name_conflicts = len(naming.renamed), naming.conflicts
            try:
                (spread.write if spread else _write)(index, writer, products, strict, progress)
            finally:
                # Of a damaged file, rows may have been read that none of its labels were counted of.
                write_names(index.folder, writer.names, writer.labels)
            if delete_missing:
                source = str(next(iter(products.files), "the products"))
                blocker = deletion_blocker(writer.seen, report.rejects, source)
                report.deleted = 0 if blocker else prune(index.store, writer.seen, report.rejects)
            # Points of an earlier format have no label, and those of an interrupted change may have another.
            old = manifest.format < FORMAT or (found and found.contents.products is None)
            if old or differ(naming.names, writer.names):
                set_categories(index.store, writer.names)
            with progress.stage("optimising the store", 1) as advance:
                index.store.optimise()
                advance(1)
            for remark in index.store.remarks:
                progress.note(remark)
            trusted = calibrate(index, products, progress) if calibrated else index.manifest
    report.seconds = round(time.monotonic() - started, 3)
    # Raised last, when everything that could be read is in the index.
    if blocker:
        raise IngestError(blocker, report)
    return report


def _tables(manifest: Manifest, products: Products, writer: Writer) -> Tables:
    """How the tables were read, for those that come later; the newest counts."""
    known = manifest.tables
    if not isinstance(products, Reader | Frame):
        return replace(known, text_ids=known.text_ids or writer.text_ids)
    said = {**products.columns.remembered, **products.columns.names}
    columns = {name: list(columns) for name, columns in said.items()}
    separator = products.separator if products.separator != SEPARATOR else None
    return Tables(known.columns | columns, known.separator or separator, known.text_ids or writer.text_ids)


def _check_server(is_server: bool, options: ServerOptions, spread: "Spread | None", whole: bool) -> None:
    """Refuse what is said of a server alone, and of other processes what takes one that has seen all rows."""
    if options != ServerOptions() and not is_server:
        raise ParameterError("how points are laid out and searched is said of a server: give its `url`")
    if spread and (whole or not is_server):
        reason = "give the `url` of a server" if not is_server else "leave `strict` and `delete_missing` out"
        raise ParameterError(f"`ray` has many processes write to one store: {reason}")


def _check_choice(folder: Path, manifest: Manifest, choice: Choice | None) -> None:
    """Refuse encoders other than those that the index was made with."""
    for name, chosen in ((TEXT, choice.text), (IMAGE, choice.image)) if choice else ():
        encoder = manifest.vectors[name].encoder if name in manifest.vectors else None
        if chosen is not None and chosen != encoder:
            made = f"its {name} vectors are made by {encoder or 'nothing'}, not by {chosen}"
            raise IndexFolderError(f"{folder}: {made}; ingest into a new folder, or do not name an encoder")
    vote = Choice.of(manifest).vote
    if choice and choice.vote not in (None, vote):
        reason = f"its products vote by {vote}, not by {choice.vote}"
        raise IndexFolderError(f"{folder}: {reason}; ingest into a new folder, or leave `vote` out")
    pooling = manifest.vectors[TEXT].pooling
    if choice and choice.pooling not in (None, pooling):
        made = f"its text vectors are pooled by {pooling or 'an encoder of its own kind'}, not by {choice.pooling}"
        raise IndexFolderError(f"{folder}: {made}; ingest into a new folder, or leave `pooling` out")


def _create(
    at: Location,
    products: Products,
    pictures: PictureFolder | None,
    choice: Choice,
    progress: Progress,
    prepared: Encoders | None,
    options: ServerOptions,
) -> Manifest:
    if at.server is None:
        check_room(at.folder)
    else:
        # A server that cannot be reached, or refuses, is known before anything is learned.
        check_ready(at.server)
    check_free(at.folder)
    _check_any(products)
    if pictures is not None and choice.image and (reason := unmatched(pictures, products)):
        raise InputError(reason)
    # Products that encoders have learned from are calibrated on by cross-fitting.
    part = part_held_out(len(products), choice.learns) if prepared is None else 0.0
    learned = Filtered(products, lambda product: not is_held_out(product, part))
    # What learning from these files makes is the same the next time, should the store be refused.
    key = (__version__, products.columns, choice, part) if isinstance(products, Reader) and not pictures else None
    learned_from = fingerprint(products.files, key) if key and choice.learns and prepared is None else None
    known = kept_encoders(at.folder, learned_from) if learned_from else {}
    if TEXT in known and not choice.learns_joint:
        prepared = Encoders(known[TEXT], None, None, at.cache)
    encoders = prepared or prepare(learned, pictures, choice, at.cache, progress)
    server = collection_for(at.server, at.folder, 1) if at.server else None
    laid_out = lay_out(at.folder, choice, encoders, choice.settings, server, 1, options, learned_from)
    manifest = replace(laid_out, held_out=part)
    if server and at.server and server.collection != at.server.collection:
        # People look at it by this name from the first product on.
        if stands_for(at.server) is None:
            switch_name(server, at.server.collection)
        manifest = manifest.at(server, manifest.search, name=at.server.collection)
    manifest.write(at.folder)
    forget_learned(at.folder)
    return manifest


def _check_any(products: Products) -> None:
    """Refuse products none of which can be used."""
    rejects = list[Reject]()
    for batch in products:
        if batch.products:
            return
        rejects += batch.rejects
    if rejects:
        first = f"{rejects[0].file}: none of its rows can be used; row {rejects[0].row}: {rejects[0].reason}"
        raise IngestError(first, IngestReport(read=len(rejects), rejected=len(rejects), rejects=rejects))


def _known_names(at: Location, manifest: Manifest | None) -> Names:
    """The names of the categories of an index, read from its products where it is older than the file of names."""
    names = read_names(at.folder) if manifest else {}
    if names is None:
        with Index.open(at, manifest) as index:
            return names_of(index)
    return names


def _is_whole(at: Location, manifest: Manifest) -> bool:
    """Whether the products of an index are all there; its server is told of it where an earlier run did not get to."""
    if manifest.published:
        publish(at, manifest)
    with Index.open(at, manifest) as index:
        return index.store.count() == manifest.contents.products


def _write(index: Index, writer: Writer, products: Products, strict: bool, progress: Progress) -> None:
    rows, report = len(products), writer.report
    with Interrupt() as interrupt, progress.stage("writing products", rows) as advance:
        for batch in products:
            writer.write(batch)
            if strict and report.rejects:
                at, advice = report.rejects[0], "correct it, or allow rejected rows (strict is on)"
                raise InputError(f"{at.file} row {at.row}: {at.reason}; {advice}")
            advance(batch.rows)
            if index.server is None:
                check_room(index.folder)
            if interrupt.requested:
                index.store.flush()
                there = f"{report.read:,} of {rows:,} rows are in {index.folder}"
                raise StoppedError(f"stopped as asked: {there}; run the same command again to go on")


def _digest(products: Products, pictures: PictureFolder | None, *options: object) -> str | None:
    """A fingerprint of files, how they are read, and options; pictures and DataFrames have none, but are compared."""
    if not isinstance(products, Reader) or pictures is not None:
        return None
    columns = sorted({**products.columns.remembered, **products.columns.names}.items())
    return fingerprint(products.files, (*options, columns, products.separator, products.group_by))


def fingerprint(files: Sequence[Path], options: tuple[object, ...]) -> str:
    """A digest of all that an ingest without pictures depends on: the files in their order, and the options."""
    digest = hashlib.sha256(repr((__version__, options)).encode())
    for path in files:
        digest.update(str(path.absolute()).encode())
        digest.update(version_of(path))
    return digest.hexdigest()


def prepare(
    products: Products,
    pictures: PictureFolder | None,
    choice: Choice,
    cache: Path,
    progress: Progress,
    store: Store | None = None,
) -> Encoders:
    """Load the pretrained encoders of an index, and learn the others from labelled products.

    Where the products are in a `store` already, their vectors by encoders that are not learned come from there.
    """
    # Imported here: learning needs numba, which takes a second to load, and a daily ingest learns nothing.
    from rubrika.train.embed import Input, learn

    image = picture_encoder(choice.image, cache) if choice.image else None
    learned = choice.text in (None, LEARNED)
    text: Encoder
    if learned:
        text = learn(products, progress)
    else:
        text = text_encoder(str(choice.text), pooling=choice.pooling, backend=choice.backend, cache=cache)
    encoders = Encoders(text, image, None, cache)
    if not choice.learns_joint:
        return encoders
    # A learned text vector has seen the labels already: among the inputs it would drown out the pictures.
    names = [*([IMAGE] if image else []), *([] if learned else [TEXT])]
    parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in names}
    sizes = {name: encoders.sizes[name] for name in names}
    with progress.stage(f"encoding {' and '.join(names) or 'nothing'}", len(products)) as advance:
        for batch in products if names else ():
            stored = stored_vectors(store, [product.id for product in batch.products], sizes) if store else None
            vectors = stored or encoders.encode(batch.products, pictures, names).vectors
            for name in names:
                parts[name].append(vectors[name].astype(np.float16))
            advance(batch.rows)
    inputs = {name: Input.of(np.concatenate(rows)) for name, rows in parts.items()}
    return Encoders(text, image, learn(products, progress, inputs=inputs), cache)


KEPT_SCHEMA = pa.schema(
    {
        "file": "string",
        "row": "int64",
        "product_id": "uint64",
        "category_id": "int64",
        "category_name": "string",
        "labelled_by": "string",
        "labelled_at": "string",
        "row_category_id": "int64",
        "row_category_name": "string",
    }
)


def write_kept(kept: Iterable[KeptLabel], path: Path) -> None:
    """Write one row for each label of a person that stays though a row has another."""
    write_rows(kept, path, KEPT_SCHEMA)
