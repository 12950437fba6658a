"""The layout of a collection: made from the vectors of an index, compared with them before anything is written."""

from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from rubrika.store.connection import SearchOptions, ServerOptions
from rubrika.store.store import INDEXED

# Written into a collection's metadata, so that Rubrika never writes into one that it did not make.
MARK = "rubrika"
METADATA: dict[str, Any] = {MARK: {"layout": 1}}

# A segment past so many kilobytes of vectors is quantised, and given its graph; the server's own default.
INDEXING_THRESHOLD = 10_000
# While loading, nothing is built that the next points would make obsolete.
NO_INDEXING = 0


def layout(sizes: Mapping[str, int], options: ServerOptions) -> dict[str, Any]:
    """The arguments of `create_collection` for named vectors of these sizes.

    `on_disk` and `always_ram` are the names that servers before 1.19 know too.
    """
    return {
        "vectors_config": {
            # Vectors have unit length: their dot product is their cosine, without another division.
            name: models.VectorParams(size=size, distance=models.Distance.DOT, on_disk=options.on_disk)
            for name, size in sizes.items()
        },
        "hnsw_config": models.HnswConfigDiff(m=options.graph_links, ef_construct=options.graph_effort),
        "quantization_config": _quantisation(options),
        "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=NO_INDEXING),
        "shard_number": options.shards,
        "replication_factor": options.replicas,
        "write_consistency_factor": options.write_consistency,
        "metadata": METADATA,
    }


def search_params(options: SearchOptions) -> models.SearchParams:
    """How a query looks: rescored by the full vectors, where there are others."""
    rescored = models.QuantizationSearchParams(rescore=True, oversampling=options.oversampling)
    return models.SearchParams(hnsw_ef=options.search_effort, quantization=rescored)


def sizes_of(info: models.CollectionInfo) -> dict[str, int]:
    """The sizes of a collection's named vectors; a vector without a name is called «»."""
    return {name: params.size for name, params in _vectors(info).items()}


def difference(info: models.CollectionInfo, sizes: Mapping[str, int]) -> str | None:
    """Say how a collection differs from what an index needs, or None."""
    vectors = _vectors(info)
    found = {name: f"{params.size} × {params.distance.value}" for name, params in vectors.items()}
    wanted = {name: f"{size} × {models.Distance.DOT.value}" for name, size in sizes.items()}
    return None if found == wanted else f"it holds {_listed(found)}, the index {_listed(wanted)}"


def is_ours(info: models.CollectionInfo) -> bool:
    """Whether Rubrika made a collection: by its mark, or, from a server that keeps none, by its payload indexes."""
    if MARK in (info.config.metadata or {}):
        return True
    kinds = {key: index.data_type.value for key, index in info.payload_schema.items()}
    return kinds.items() >= INDEXED.items()


def _vectors(info: models.CollectionInfo) -> dict[str, models.VectorParams]:
    vectors = info.config.params.vectors
    return {"": vectors} if isinstance(vectors, models.VectorParams) else dict(vectors or {})


def _listed(vectors: Mapping[str, str]) -> str:
    return ", ".join(f"«{name}» ({shape})" for name, shape in sorted(vectors.items())) or "no vectors"


def _quantisation(options: ServerOptions) -> models.ScalarQuantization | models.TurboQuantization | None:
    match options.quantisation:
        case "int8":
            return models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            )
        case "turbo":
            return models.TurboQuantization(
                turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, always_ram=True)
            )
        case "none":
            return None
