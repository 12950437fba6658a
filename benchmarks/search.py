"""How Qdrant Edge should search learned vectors: milliseconds a query, and what the vote then gets right.

    python benchmarks/search.py FILE --group-by COLUMN [--queries 4000]

The encoder is learned from the rows that are not held out; every way searches the same vectors for the same queries.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import qdrant_edge as edge

from rubrika.eval.heldout import read_labels
from rubrika.eval.split import group_split
from rubrika.metrics import metrics_of
from rubrika.products.parquet import Reader
from rubrika.products.selection import Selection
from rubrika.progress import Silent
from rubrika.retrieve.vote import weighted_vote
from rubrika.store.store import Hits
from rubrika.train.learn import learn

TOP_K, TEMPERATURE, BATCH = 10, 60.0, 256

Way = tuple[str, edge.EdgeConfig, edge.SearchParams | None]


def ways(size: int) -> list[Way]:
    """The ways to search."""

    def config(links: int, effort: int = 4, half: bool = False, quantised: bool = False) -> edge.EdgeConfig:
        kind = edge.VectorStorageDatatype.Float16 if half else edge.VectorStorageDatatype.Float32
        return edge.EdgeConfig(
            vectors={"text": edge.EdgeVectorParams(size, edge.Distance.Dot, datatype=kind)},
            hnsw_config=edge.HnswIndexConfig(m=links, ef_construct=effort, full_scan_threshold=10),
            quantization_config=edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=True)
            if quantised
            else None,
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=2),
        )

    rescored = edge.SearchParams(quantization=edge.QuantizationSearchParams(rescore=True, oversampling=2.0))
    return [
        ("full vectors, every one looked at", config(0), None),
        ("float16", config(0, half=True), None),
        ("8-bit vectors, the best rescored", config(0, quantised=True), rescored),
        ("graph, m = 16, ef = 128", config(16, 64), edge.SearchParams(hnsw_ef=128)),
        ("graph, m = 24, ef = 512", config(24, 100), edge.SearchParams(hnsw_ef=512)),
    ]


def found_by(way: Way, known: np.ndarray, categories: np.ndarray, asked: np.ndarray) -> tuple[Hits, float, float]:
    """Hits, seconds to optimise, and milliseconds a query."""
    _, config, params = way
    with tempfile.TemporaryDirectory() as folder:
        shard = edge.EdgeShard.create(folder, config)
        for start in range(0, len(known), 2_048):
            rows = known[start : start + 2_048].tolist()
            labels = categories[start : start + 2_048].tolist()
            points = [
                edge.Point(start + i, {"text": row}, {"category_id": label})
                for i, (row, label) in enumerate(zip(rows, labels, strict=True))
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        started = time.monotonic()
        shard.optimize()
        optimised = time.monotonic() - started
        found, started = [], time.monotonic()
        for start in range(0, len(asked), BATCH):
            requests = [
                edge.QueryRequest(
                    TOP_K, query=edge.Query.Nearest(row, using="text"), with_payload=["category_id"], params=params
                )
                for row in asked[start : start + BATCH].tolist()
            ]
            batch = shard.query_batch(edge.QueryBatchRequest(requests))
            found += [[(hit.id, hit.score, hit.payload["category_id"]) for hit in hits] for hits in batch]
        milliseconds = 1_000 * (time.monotonic() - started) / len(asked)
        shard.close()
    return Hits.of(found, TOP_K), optimised, milliseconds


def main() -> None:
    """Try every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by", required=True)
    parser.add_argument("--queries", type=int, default=4_000)
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    labels = read_labels(reader, Silent())
    held_out = group_split(labels.ids, labels.groups, 0.1, 0, options.group_by).held_out
    encoder = learn(Selection(reader, ~held_out), Silent())
    vectors = np.concatenate([encoder.encode([product.text for product in batch.products]) for batch in reader])
    known, asked = vectors[~held_out], vectors[held_out][: options.queries]
    truth = labels.categories[held_out][: options.queries]
    print("| how | optimise s | milliseconds a query | weighted F1 |\n|---|---|---|---|")
    for way in ways(encoder.size):
        hits, optimised, milliseconds = found_by(way, known, labels.categories[~held_out], asked)
        f1 = metrics_of(truth, weighted_vote(hits, TEMPERATURE).winners).weighted_f1
        print(f"| {way[0]} | {optimised:.1f} | {milliseconds:.2f} | {f1:.4f} |", flush=True)


if __name__ == "__main__":
    main()
