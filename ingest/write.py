"""Writes batches of products into a store: what is new is encoded, what changed is replaced, the rest left alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rubrika.encode.encoder import Encoder
from rubrika.ingest.payload import INGESTED_AT, payload_of
from rubrika.products.product import Batch, Product, Reject
from rubrika.store.store import Payload, Point, Store


@dataclass
class IngestReport:
    """What became of the rows: each one read is in exactly one of the counts after `read`."""

    read: int = 0
    added: int = 0
    updated: int = 0
    relabelled: int = 0
    unchanged: int = 0
    rejected: int = 0
    seconds: float = 0.0
    rejects: list[Reject] = field(default_factory=list)


class Writer:
    """Brings batches into a store and counts what became of their rows.

    Args:
        store: where the points go.
        encoders: the encoder of each named vector.
        report: where rows are counted.
        now: the time of this run, for the payload.
    """

    def __init__(self, store: Store, encoders: Mapping[str, Encoder], report: IngestReport, now: str) -> None:
        self._store, self._encoders, self._report, self._now = store, encoders, report, now
        # What each id of this run said, and where, to see the same id saying something else.
        self._seen: dict[int, tuple[int, Path, int]] = {}

    def write(self, batch: Batch) -> None:
        """Write one batch."""
        report = self._report
        report.read += batch.rows
        report.rejects += batch.rejects
        report.rejected += len(batch.rejects)
        payloads = {}
        for product in batch.products:
            payload = payload_of(product, self._now)
            if self._first_of_its_id(product, payload, batch.file):
                payloads[product.id] = (product, payload)
        known = self._store.fetch(list(payloads), payload=True)
        changed = [
            pair for id, pair in payloads.items() if self._differs(known[id].payload if id in known else None, pair[1])
        ]
        self._upsert(changed)

    def _first_of_its_id(self, product: Product, payload: Payload, file: Path) -> bool:
        content = hash(tuple((key, str(value)) for key, value in payload.items()))
        before = self._seen.setdefault(product.id, (content, file, product.row))
        if before[1:] == (file, product.row):
            return True
        if before[0] == content:
            self._report.unchanged += 1
        else:
            place = f"{before[1].name} row {before[2]}"
            reason = f"product_id {product.id} was in {place} with other content; the first was kept"
            self._report.rejects.append(Reject(file, product.row, str(product.id), reason))
            self._report.rejected += 1
        return False

    def _differs(self, known: Payload | None, payload: Payload) -> bool:
        report = self._report
        if known is None:
            report.added += 1
        elif _content(known) == _content(payload):
            report.unchanged += 1
            return False
        elif known.get("text_hash") == payload["text_hash"] and known.get("category_id") != payload["category_id"]:
            report.relabelled += 1
        else:
            report.updated += 1
        return True

    def _upsert(self, changed: list[tuple[Product, Payload]]) -> None:
        if not changed:
            return
        texts = [product.text for product, _ in changed]
        vectors = {name: encoder.encode(texts) for name, encoder in self._encoders.items()}
        self._store.upsert(
            [
                Point(product.id, {name: rows[i] for name, rows in vectors.items()}, payload)
                for i, (product, payload) in enumerate(changed)
            ]
        )


def _content(payload: Payload) -> Payload:
    return {key: value for key, value in payload.items() if key != INGESTED_AT}
