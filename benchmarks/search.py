"""How Qdrant Edge should search learned vectors: milliseconds a query, and what the vote then gets right.

    python benchmarks/search.py FILE [--group-by COLUMN] [--holdout 0.1] [--queries 4000] [--epochs N] [--ways NAME,...]

The encoder is learned from the rows that are not held out; every way searches the same vectors for the same queries.
Megabytes are those of the store, with no payload but the category.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import qdrant_edge as edge

from rubrika.eval.heldout import read_labels
from rubrika.eval.metrics import metrics_of
from rubrika.products.product import Selection
from rubrika.products.reader import Reader
from rubrika.products.split import group_split, plain_split
from rubrika.progress import Silent
from rubrika.store.base import Hits
from rubrika.train.embed import LearnSettings, learn
from rubrika.vote import weighted_vote

TOP_K, TEMPERATURE, BATCH = 10, 60.0, 256

Way = tuple[edge.EdgeConfig, edge.SearchParams | None]
Quantisation = edge.ScalarQuantizationConfig | edge.BinaryQuantizationConfig | edge.TurboQuantQuantizationConfig


def ways(size: int) -> dict[str, Way]:
    """The ways to search."""
    int8 = edge.ScalarQuantizationConfig(edge.ScalarType.Int8, always_ram=False)
    turbo = edge.TurboQuantQuantizationConfig(always_ram=False, bits=edge.TurboQuantBitSize.Bits2)
    signs = edge.BinaryQuantizationConfig(False, query_encoding=edge.BinaryQuantizationQueryEncoding.Scalar8Bits)

    def config(
        links: int, effort: int = 4, half: bool = False, quantised: Quantisation | None = None
    ) -> edge.EdgeConfig:
        kind = edge.VectorStorageDatatype.Float16 if half else edge.VectorStorageDatatype.Float32
        return edge.EdgeConfig(
            vectors={"text": edge.EdgeVectorParams(size, edge.Distance.Dot, datatype=kind)},
            hnsw_config=edge.HnswIndexConfig(m=links, ef_construct=effort, full_scan_threshold=10),
            quantization_config=quantised,
            optimizers=edge.EdgeOptimizersConfig(default_segment_number=2),
        )

    def rescored(oversampling: float = 2.0, effort: int | None = None) -> edge.SearchParams:
        again = edge.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        return edge.SearchParams(quantization=again, hnsw_ef=effort)

    return {
        "full": (config(0), None),
        "float16": (config(0, half=True), None),
        "8-bit": (config(0, quantised=int8), rescored()),
        "2-bit turbo": (config(0, quantised=turbo), rescored(16.0)),
        "1-bit": (config(0, quantised=signs), rescored(64.0)),
        "graph 16: ef 128": (config(16, 64), edge.SearchParams(hnsw_ef=128)),
        "graph 24: ef 512": (config(24, 100), edge.SearchParams(hnsw_ef=512)),
        "graph 12 float16: ef 1024": (config(12, 64, half=True), edge.SearchParams(hnsw_ef=1_024)),
        "graph 12 8-bit: ef 512": (config(12, 64, quantised=int8), rescored(effort=512)),
        "graph 12 8-bit: ef 1024": (config(12, 64, quantised=int8), rescored(effort=1_024)),
        "graph 12 8-bit: ef 2048": (config(12, 64, quantised=int8), rescored(effort=2_048)),
    }


def found_by(
    way: Way, known: np.ndarray, categories: np.ndarray, asked: np.ndarray
) -> tuple[Hits, float, float, float]:
    """Hits, seconds to optimise, milliseconds a query, and megabytes on the disk."""
    config, params = way
    with tempfile.TemporaryDirectory() as folder:
        shard = edge.EdgeShard.create(folder, config)
        for start in range(0, len(known), 2_048):
            rows = known[start : start + 2_048].astype(np.float32).tolist()
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
        size = sum(file.stat().st_blocks * 512 for file in Path(folder).rglob("*") if file.is_file()) / 1e6
    return Hits.of(found, TOP_K), optimised, milliseconds, size


def main() -> None:
    """Try every way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by")
    parser.add_argument("--holdout", type=float, default=0.1)
    parser.add_argument("--queries", type=int, default=4_000)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--ways", help="all of them by default")
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    labels = read_labels(reader, Silent())
    if options.group_by:
        held_out = group_split(labels.ids, labels.groups, options.holdout, 0, options.group_by).held_out
    else:
        held_out = plain_split(labels.ids, options.holdout, 0).held_out
    encoder = learn(Selection(reader, ~held_out), Silent(), LearnSettings(epochs=options.epochs))
    parts = [encoder.encode([product.text for product in batch.products]).astype(np.float16) for batch in reader]
    vectors = np.concatenate(parts)
    known, asked = vectors[~held_out], vectors[held_out][: options.queries].astype(np.float32)
    truth = labels.categories[held_out][: options.queries]
    print("| how | optimise s | milliseconds a query | weighted F1 | MB |\n|---|---|---|---|---|")
    known_ways = ways(encoder.size)
    for name in options.ways.split(",") if options.ways else known_ways:
        way = known_ways[name]
        hits, optimised, milliseconds, size = found_by(way, known, labels.categories[~held_out], asked)
        f1 = metrics_of(truth, weighted_vote(hits, TEMPERATURE).winners).weighted_f1
        print(f"| {name} | {optimised:.1f} | {milliseconds:.2f} | {f1:.4f} | {size:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
