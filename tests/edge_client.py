"""Qdrant Edge in the place of the client's memory mode: behind a stand-in, the engine of a real server.

The memory mode compares by numpy, whose sums differ from the engine's in their last digits, and scans in Python.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import qdrant_edge as edge
from qdrant_client import QdrantClient
from qdrant_client.http import models

from rubrika.store.edge import _SCAN, _config

DONE = models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


class EdgeClient:
    """What the stand-ins ask of a client, its points in an Edge shard; collections and aliases stay in memory mode."""

    def __init__(self) -> None:
        self.memory, self.folder = QdrantClient(":memory:"), Path(mkdtemp())
        self.shards: dict[str, edge.EdgeShard] = {}

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the client's
        return getattr(self.memory, name)

    def create_collection(
        self,
        name: str,
        vectors_config: dict[str, models.VectorParams],
        metadata: Any = None,  # noqa: ANN401
    ) -> bool:
        sizes = {vector: params.size for vector, params in vectors_config.items()}
        (self.folder / name).mkdir()
        self.shards[name] = edge.EdgeShard.create(str(self.folder / name), _config(sizes, _SCAN))
        index = edge.UpdateOperation.create_field_index("category_id", edge.PayloadSchemaType.Integer)
        self.shards[name].update(index)
        return self.memory.create_collection(name, vectors_config=vectors_config, metadata=metadata)

    def delete_collection(self, name: str) -> bool:
        self.shards.pop(name).close()
        shutil.rmtree(self.folder / name)
        return self.memory.delete_collection(name)

    def upsert(self, name: str, points: Sequence[models.PointStruct]) -> models.UpdateResult:
        new = [edge.Point(point.id, point.vector, point.payload or {}) for point in points]
        self.shards[name].update(edge.UpdateOperation.upsert_points(new))
        return DONE

    def batch_update_points(
        self, name: str, operations: Sequence[models.OverwritePayloadOperation]
    ) -> list[models.UpdateResult]:
        for each in operations:
            new = each.overwrite_payload
            self.shards[name].update(edge.UpdateOperation.overwrite_payload(list(new.points), new.payload))
        return [DONE] * len(operations)

    def delete(self, name: str, points: Any) -> models.UpdateResult:  # noqa: ANN401 - ids, or a selector of them
        ids = points if isinstance(points, list) else points.points
        self.shards[name].update(edge.UpdateOperation.delete_points(list(ids)))
        return DONE

    def retrieve(self, name: str, ids: Sequence[int], with_payload: Any, with_vectors: Any) -> list[models.Record]:  # noqa: ANN401
        return [_record(each) for each in self.shards[name].retrieve(list(ids), with_payload, with_vectors)]

    def scroll(
        self,
        name: str,
        scroll_filter: None = None,
        limit: int = 10,
        order_by: None = None,
        offset: int | None = None,
        with_payload: Any = True,  # noqa: ANN401
        with_vectors: Any = False,  # noqa: ANN401
    ) -> tuple[list[models.Record], int | None]:
        request = edge.ScrollRequest(offset, limit, with_payload=with_payload, with_vector=with_vectors)
        found, following = self.shards[name].scroll(request)
        return [_record(each) for each in found], following

    def query_batch_points(self, name: str, requests: Sequence[models.QueryRequest]) -> list[models.QueryResponse]:
        asked = [_query(request) for request in requests]
        answers = self.shards[name].query_batch(edge.QueryBatchRequest(asked))
        return [models.QueryResponse(points=[_scored(hit) for hit in hits]) for hits in answers]

    def count(self, name: str) -> models.CountResult:
        return models.CountResult(count=self.shards[name].count(edge.CountRequest(exact=True)))

    def facet(self, name: str, key: str, limit: int = 10) -> models.FacetResponse:
        found = self.shards[name].facet(edge.FacetRequest(key, limit, exact=True))
        return models.FacetResponse(hits=[models.FacetValueHit(value=hit.value, count=hit.count) for hit in found.hits])

    def close(self) -> None:
        while self.shards:
            self.shards.popitem()[1].close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.memory.close()


def _record(record: Any) -> models.Record:  # noqa: ANN401 - the engine's
    return models.Record(id=record.id, payload=record.payload, vector=record.vector)


def _scored(hit: Any) -> models.ScoredPoint:  # noqa: ANN401
    return models.ScoredPoint(id=hit.id, version=0, score=hit.score, payload=hit.payload)


def _query(request: models.QueryRequest) -> edge.QueryRequest:
    """The engine's request, searched as the server was asked to."""
    params, row = request.params, request.query
    quantised = params.quantization
    how = edge.QuantizationSearchParams(bool(quantised.ignore), bool(quantised.rescore), quantised.oversampling)
    search = edge.SearchParams(max(params.hnsw_ef or 0, request.limit), bool(params.exact), how)
    vector = row.nearest if isinstance(row, models.NearestQuery) else row
    query = edge.Query.Nearest(list(vector), using=request.using)
    return edge.QueryRequest(request.limit, query=query, with_payload=["category_id"], params=search)
