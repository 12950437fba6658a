"""How a collection on a Qdrant server is laid out, marked as ours, and limited."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qdrant_client import models

from rubrika.store.connection import (
    EF_CONSTRUCT,
    GRAPH_FROM,
    GRAPH_LINKS,
    QUANTILE,
    Quantisation,
    Recall,
    ServerOptions,
)

# Payload keys that people filter by and count in a server's web UI.
_FIRST = {"category_id": "integer", "category": "keyword", "category_levels": "keyword", "shop_id": "integer"}
INDEXED = {**_FIRST, "label": "keyword"}
# Kept in a collection's metadata, so that Rubrika never writes into one that it did not make.
MARK = "rubrika"


def metadata(graph: tuple[int, int]) -> dict[str, Any]:
    """The mark of a collection of ours, with what `graph_of` finds there."""
    return {MARK: {"layout": 1, "graph_from": graph[0], "graph_links": graph[1]}}


# From so many kilobytes of vectors on a segment is quantised and gets its graph; the server's default.
INDEXING_THRESHOLD = 10_000


def layout(sizes: Mapping[str, int], options: ServerOptions) -> dict[str, Any]:
    """The arguments of `create_collection` for named vectors of these sizes."""
    start, links = options.graph
    # `on_disk` and `always_ram` are the names that servers before 1.19 know too.
    return {
        "vectors_config": {
            # Vectors have unit length: their dot product is their cosine, without another division.
            name: models.VectorParams(size=size, distance=models.Distance.DOT, on_disk=options.on_disk)
            for name, size in sizes.items()
        },
        "hnsw_config": models.HnswConfigDiff(
            m=0 if start else links, ef_construct=options.ef_construct or EF_CONSTRUCT
        ),
        "quantization_config": _quantisation(options),
        # While loading, nothing is built that the next points would make obsolete.
        "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=0),
        "shard_number": options.shards,
        "replication_factor": options.replicas,
        "write_consistency_factor": options.write_consistency,
        "metadata": metadata(options.graph),
    }


def _quantisation(options: ServerOptions) -> models.ScalarQuantization | models.TurboQuantization | None:
    if options.quantisation == "none":
        return None
    if options.quantisation == "turbo":
        turbo = models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4, always_ram=True)
        return models.TurboQuantization(turbo=turbo)
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=QUANTILE, always_ram=True)
    return models.ScalarQuantization(scalar=scalar)


def search_params(how: Recall, exact: bool) -> models.SearchParams:
    """How a query searches: rescored by the full vectors where they are quantised, or by those alone."""
    if exact or how.oversampling is None:
        quantised = models.QuantizationSearchParams(ignore=True)
    else:
        quantised = models.QuantizationSearchParams(rescore=True, oversampling=how.oversampling)
    return models.SearchParams(hnsw_ef=how.hnsw_ef, exact=exact, quantization=quantised)


Limits = models.StrictModeConfig | models.StrictModeConfigOutput


def limits_of(info: models.CollectionInfo) -> Limits:
    """What a search of a collection may ask for; a server in strict mode sets limits."""
    limits = info.config.strict_mode_config
    return limits if limits and limits.enabled else models.StrictModeConfig()


def within(limits: Limits, how: Recall) -> Recall:
    """The same way to search, as far as the limits allow it."""
    effort, times = limits.search_max_hnsw_ef, limits.search_max_oversampling
    if effort and how.hnsw_ef:
        how = replace(how, hnsw_ef=min(how.hnsw_ef, effort))
    return replace(how, oversampling=min(how.oversampling, times)) if times and how.oversampling else how


def vectors_of(info: models.CollectionInfo) -> dict[str, models.VectorParams]:
    """The named vectors of a collection; one without a name is called «»."""
    vectors = info.config.params.vectors
    return {"": vectors} if isinstance(vectors, models.VectorParams) else dict(vectors or {})


def difference(info: models.CollectionInfo, sizes: Mapping[str, int]) -> str | None:
    """How the vectors of a collection differ from those of an index, or None."""
    found = {name: f"{params.size} × {params.distance.value}" for name, params in vectors_of(info).items()}
    wanted = {name: f"{size} × {models.Distance.DOT.value}" for name, size in sizes.items()}
    return None if found == wanted else f"it holds {_listed(found)}, the index {shapes(sizes)}"


def failure(info: models.CollectionInfo) -> str | None:
    """Why a collection is red, in the server's words; None: it is not."""
    if info.status != models.CollectionStatus.RED:
        return None
    return " ".join(str(getattr(info.optimizer_status, "error", "see the server's log")).split())


def forbids_scans(info: models.CollectionInfo) -> bool:
    """Whether a collection that has no graph may only be searched by one."""
    return limits_of(info).search_allow_exact is False and not info.config.hnsw_config.m


def shapes(sizes: Mapping[str, int]) -> str:
    """The vectors of an index, for somebody who makes a collection for them."""
    return _listed({name: f"{size} × {models.Distance.DOT.value}" for name, size in sizes.items()})


def _listed(vectors: Mapping[str, str]) -> str:
    return ", ".join(f"«{name}» ({shape})" for name, shape in sorted(vectors.items())) or "no vectors"


def is_ours(info: models.CollectionInfo) -> bool:
    """Whether Rubrika made a collection: by its mark, or, on a server that keeps none, by its payload indexes."""
    kinds = {key: index.data_type.value for key, index in info.payload_schema.items()}
    return MARK in (info.config.metadata or {}) or kinds.items() >= _FIRST.items()


def graph_of(info: models.CollectionInfo) -> tuple[int, int]:
    """From how many points on a collection is to have a graph, and its links, as `ServerOptions.graph`.

    One made before that was noted had a graph at once, or went by the default.
    """
    mark, links = (info.config.metadata or {}).get(MARK), info.config.hnsw_config.m
    noted = (mark.get("graph_from"), mark.get("graph_links")) if isinstance(mark, dict) else (None, None)
    if isinstance(noted[0], int) and isinstance(noted[1], int):
        return noted[0], noted[1]
    return (0, links) if links else (GRAPH_FROM, GRAPH_LINKS)


def links_for(info: models.CollectionInfo, count: int) -> int:
    """How many links a point of the graph is to have; 0: a scan. A graph stays until half of its points are gone."""
    start, links = graph_of(info)
    return links if count >= (start // 2 if info.config.hnsw_config.m else start) else 0


def options_of(info: models.CollectionInfo) -> ServerOptions:
    """How a collection is laid out."""
    params, quantised = info.config.params, info.config.quantization_config
    (start, links), vectors = graph_of(info), vectors_of(info).values()
    quantisation: Quantisation = "int8" if isinstance(quantised, models.ScalarQuantization) else "none"
    if isinstance(quantised, models.TurboQuantization):
        quantisation = "turbo"
    return ServerOptions(
        shards=params.shard_number,
        replicas=params.replication_factor,
        write_consistency=params.write_consistency_factor,
        on_disk=bool(vectors) and all(vector.on_disk for vector in vectors),
        quantisation=quantisation,
        hnsw_m=links,
        ef_construct=info.config.hnsw_config.ef_construct,
        graph_from=start,
    )


def kept(info: models.CollectionInfo, options: ServerOptions) -> list[str]:
    """What a collection has otherwise than was asked for, and keeps: parameters as messages name them, with values."""
    has = options_of(info)
    names = ("shards", "replicas", "write_consistency", "on_disk", "quantisation")
    pairs = ((name, getattr(options, name), getattr(has, name)) for name in names)
    return [
        f"`{name}` {old or ('none' if name == 'quantisation' else 'off')}"
        for name, wanted, old in pairs
        if wanted and wanted != old
    ]
