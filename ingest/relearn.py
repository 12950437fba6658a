"""Learns an index's encoders anew, from all products it has now, beside the old ones; then switches over at once."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from rubrika.errors import EncoderError, StoreError
from rubrika.index.create import Choice, lay_out
from rubrika.index.disk import check_room
from rubrika.index.index import LEARNED, Index
from rubrika.index.layout import collection_note, other_generations
from rubrika.index.lock import writing
from rubrika.ingest.change import Hasher
from rubrika.ingest.payload import INGESTED_AT
from rubrika.ingest.prepare import prepare
from rubrika.ingest.stored import StoredProducts, stored_vectors
from rubrika.progress import Progress, Silent
from rubrika.store.connection import Connection
from rubrika.store.place import delete_store, is_alias, open_store
from rubrika.store.store import Payload, Point


@dataclass(frozen=True, slots=True)
class Relearned:
    """From how many products and categories was learned."""

    products: int
    categories: int


def relearn(
    folder: Path,
    files: Sequence[Path] = (),
    *,
    cache: Path,
    api_key: str | None = None,
    progress: Progress | None = None,
) -> Relearned:
    """Learn again; until the last moment the index is what it was, and a run cut short leaves it so.

    Args:
        folder: the index folder.
        files: where the texts of its products are; by default the files that were ingested.
        cache: a folder for vectors of pretrained encoders.
        api_key: of the server that has its points, if one has.
        progress: where to show how far it is.

    Raises:
        InputError: some product is in none of the files.
        EncoderError: no encoder of this index is learned, or there is too little to learn from.
    """
    progress = progress or Silent()
    with writing(folder, "learn"):
        with Index.open(folder, cache, api_key=api_key) as index:
            manifest = index.manifest
            learned = {name for name, spec in manifest.vectors.items() if spec.encoder == LEARNED}
            if not learned:
                raise EncoderError(f"{folder}: none of its encoders is learned, so there is nothing to learn again")
            if index.server and is_alias(index.server):
                raise StoreError(
                    f"{index.server.server}: the index goes by the alias «{manifest.collection}»; learn into a new "
                    f"folder with `rubrika ingest`, then `rubrika push --alias {manifest.collection}`"
                )
            products = StoredProducts.of(index, files)
            products.check()
            choice = Choice.of(manifest)
            encoders = prepare(products, None, choice, cache, progress, index.store)
            generation = manifest.generation + 1
            server = _fresh(index.server, collection_note(folder, generation), generation) if index.server else None
            fresh = lay_out(folder, choice, encoders, manifest.vote, server, generation)
            fresh = replace(fresh, search=manifest.search, calibration=manifest.calibration)
            store = open_store(fresh.place(folder, api_key), fresh.sizes, fresh.search)
            with Index(folder, fresh, store, cache, server) as target:
                _fill(index, target, products, learned, progress)
                target.store.optimise()
                target.store.flush()
                contents = replace(manifest.contents, products=target.store.count())
        replace(fresh, contents=contents).write(folder)
        for leftover in other_generations(folder, generation):
            shutil.rmtree(leftover, ignore_errors=True)
        if index.server:
            delete_store(index.server)
    return Relearned(len(products), len({category.id for _, category in products.known.values()}))


def _fill(source: Index, target: Index, products: StoredProducts, learned: set[str], progress: Progress) -> None:
    """Write every point anew: learned vectors made again, the others and the payload as they are stored."""
    sizes = {name: size for name, size in source.manifest.sizes.items() if name not in learned}
    hasher = Hasher.of(target.manifest)
    # With it, a later push sees that these are other points than those it may have moved before.
    now = datetime.now(UTC).isoformat(timespec="seconds")

    def made(text: str) -> Payload:
        return {"text_hash": hasher.text(text), INGESTED_AT: now}

    with progress.stage("writing products", len(products)) as advance:
        for batch in products:
            ids = [product.id for product in batch.products]
            given = stored_vectors(source.store, ids, sizes)
            encoded = target.encoders.encode(batch.products, None, given=given)
            known = source.store.fetch(ids)
            target.store.upsert(
                [
                    Point(id, encoded.of(row), known[id].payload | made(product.text))
                    for row, (id, product) in enumerate(zip(ids, batch.products, strict=True))
                ]
            )
            advance(len(ids))
            check_room(target.folder, target.server)


def _fresh(server: Connection, note: Path, generation: int) -> Connection:
    """The collection of the next generation: called as the first one, and as nobody else's; its name is noted.

    The one that a run cut short had noted goes.
    """
    first = re.sub(r"-\d+-[0-9a-f]{8}$", "", server.collection)
    left = note.read_text(encoding="utf-8") if note.exists() else ""
    if re.fullmatch(rf"{re.escape(first)}-{generation}-[0-9a-f]{{8}}", left):
        delete_store(replace(server, collection=left))
    fresh = replace(server, collection=f"{first}-{generation}-{uuid4().hex[:8]}")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(fresh.collection, encoding="utf-8")
    return fresh
