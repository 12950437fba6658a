"""A real gRPC server that answers as Qdrant does, its points in the client's memory mode, and that fails on demand."""

# The names and messages are the protocol's, generated without types.
# ruff: noqa: ANN401, N802

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc as wire
from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_rules import Asked, Refused, Rules

DONE = grpc.PointsOperationResponse(result=grpc.UpdateResult(status=grpc.UpdateStatus.Completed))


# What a proxy says of a request that is too large for it.
TOO_LARGE = "Received http2 header with status: 413"


class QdrantOverGrpc(Rules, grpc.QdrantServicer, grpc.CollectionsServicer, grpc.PointsServicer):
    """Collections in memory, served on a local port.

    Attributes:
        failing: codes that the next requests end with.
        seconds: how long every answer takes.
        answered: the method of every request that got an answer.
    """

    def __init__(
        self, api_key: str | None, read_only_key: str | None = None, client: QdrantClient | None = None
    ) -> None:
        super().__init__(api_key, read_only_key, client)
        self.failing, self.seconds = list[wire.StatusCode](), 0.0
        self.answered = list[str]()

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler, method = continuation(details), details.method.partition("/qdrant.")[2]
        key = dict(details.invocation_metadata).get("api-key")

        def answer(request: Any, context: Any) -> Any:
            time.sleep(self.seconds)
            if self.failing:
                context.abort(self.failing.pop(0), "said the server")
            if self.body_limit is not None and request.ByteSize() > self.body_limit:
                context.abort(wire.StatusCode.UNKNOWN, TOO_LARGE)
            with self.lock:
                try:
                    self.admit(key, asked(method, request))
                    result = handler.unary_unary(request, context)
                except Refused as no:
                    if no.retry_after is not None:
                        context.set_trailing_metadata((("retry-after", str(no.retry_after)),))
                    context.abort(wire.StatusCode[no.code], no.text)
                except ValueError as error:
                    context.abort(wire.StatusCode.INVALID_ARGUMENT, f"Wrong input: {error}")
            self.answered.append(method)
            return result

        return wire.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def HealthCheck(self, request: Any, context: Any) -> Any:
        return grpc.HealthCheckReply(title="qdrant", version="1.18.3")

    def Get(self, request: Any, context: Any) -> Any:
        if isinstance(request, grpc.GetPoints):
            ids = [GrpcToRest.convert_point_id(id) for id in request.ids]
            payload = wanted(request)
            found = self.client.retrieve(request.collection_name, ids, payload, request.with_vectors.enable)
            return grpc.GetResponse(result=list(map(point, found)))
        return grpc.GetCollectionInfoResponse(
            result=RestToGrpc.convert_collection_info(self.info(request.collection_name))
        )

    def List(self, request: Any, context: Any) -> Any:
        names = [each.name for each in self.client.get_collections().collections]
        return grpc.ListCollectionsResponse(collections=[grpc.CollectionDescription(name=name) for name in names])

    def ListAliases(self, request: Any, context: Any) -> Any:
        found = self.aliases(dict(context.invocation_metadata()).get("api-key")).aliases
        return grpc.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(each) for each in found])

    def UpdateAliases(self, request: Any, context: Any) -> Any:
        self.client.update_collection_aliases(list(map(GrpcToRest.convert_alias_operations, request.actions)))
        return grpc.CollectionOperationResponse(result=True)

    def Create(self, request: Any, context: Any) -> Any:
        vectors = {
            name: models.VectorParams(size=params.size, distance=GrpcToRest.convert_distance(params.distance))
            for name, params in request.vectors_config.params_map.map.items()
        }
        metadata = GrpcToRest.convert_payload(request.metadata)
        self.client.create_collection(request.collection_name, vectors_config=vectors, metadata=metadata)
        self.change(request.collection_name, changed(request))
        return grpc.CollectionOperationResponse(result=True)

    def Update(self, request: Any, context: Any) -> Any:
        self.change(request.collection_name, changed(request))
        metadata = GrpcToRest.convert_payload(request.metadata)
        self.client.update_collection(request.collection_name, metadata=metadata or None)
        return grpc.CollectionOperationResponse(result=True)

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        kind = grpc.FieldType.Name(request.field_type).removeprefix("FieldType").lower()
        self.indexes.setdefault(self.real_name(request.collection_name), {})[request.field_name] = kind
        return DONE

    def Upsert(self, request: Any, context: Any) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        self.client.upsert(request.collection_name, points)
        return DONE

    def Delete(self, request: Any, context: Any) -> Any:
        if isinstance(request, grpc.DeleteCollection):
            self.client.delete_collection(request.collection_name)
            return grpc.CollectionOperationResponse(result=True)
        self.client.delete(request.collection_name, GrpcToRest.convert_points_selector(request.points))
        return DONE

    def UpdateVectors(self, request: Any, context: Any) -> Any:
        points = [GrpcToRest.convert_point_vectors(point) for point in request.points]
        self.client.update_vectors(request.collection_name, points)
        return DONE

    def DeleteVectors(self, request: Any, context: Any) -> Any:
        selector = GrpcToRest.convert_points_selector(request.points_selector)
        self.client.delete_vectors(request.collection_name, list(request.vectors.names), selector)
        return DONE

    def UpdateBatch(self, request: Any, context: Any) -> Any:
        operations = [GrpcToRest.convert_points_update_operation(operation) for operation in request.operations]
        self.client.batch_update_points(request.collection_name, operations)
        return grpc.UpdateBatchResponse(result=[DONE.result] * len(operations))

    def QueryBatch(self, request: Any, context: Any) -> Any:
        queries = [GrpcToRest.convert_query_points(query) for query in request.query_points]
        if isinstance(self.client, QdrantClient):
            queries = [query.model_copy(update={"params": None}) for query in queries]
        answers = self.client.query_batch_points(request.collection_name, queries)
        results = [[RestToGrpc.convert_scored_point(hit) for hit in answer.points] for answer in answers]
        return grpc.QueryBatchResponse(result=[grpc.BatchResult(result=hits) for hits in results])

    def Scroll(self, request: Any, context: Any) -> Any:
        offset = GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None
        only = GrpcToRest.convert_filter(request.filter) if request.HasField("filter") else None
        found, offset = self.client.scroll(
            *(request.collection_name, only, request.limit, None, offset),
            with_payload=wanted(request),
            with_vectors=request.with_vectors.enable,
        )
        following = offset and RestToGrpc.convert_extended_point_id(offset)
        return grpc.ScrollResponse(result=map(point, found), next_page_offset=following)

    def Count(self, request: Any, context: Any) -> Any:
        return grpc.CountResponse(result=grpc.CountResult(count=self.client.count(request.collection_name).count))

    def Facet(self, request: Any, context: Any) -> Any:
        found = self.client.facet(request.collection_name, request.key, limit=request.limit)
        return grpc.FacetResponse(hits=[RestToGrpc.convert_facet_value_hit(hit) for hit in found.hits])

    def CollectionClusterInfo(self, request: Any, context: Any) -> Any:
        count = self.client.count(request.collection_name).count
        shard = grpc.LocalShardInfo(shard_id=0, points_count=count, state=grpc.ReplicaState.Active)
        return grpc.CollectionClusterInfoResponse(peer_id=7, shard_count=1, local_shards=[shard])


def changed(request: Any) -> Any:
    """The parts of a layout that a request sets."""
    return {
        "hnsw_config": GrpcToRest.convert_hnsw_config_diff(request.hnsw_config).model_dump(exclude_none=True),
        "optimizers_config": GrpcToRest.convert_optimizers_config_diff(request.optimizers_config).model_dump(
            exclude_none=True
        ),
    }


READS = {"Get", "QueryBatch", "Scroll", "Count", "Facet"}


def asked(method: str, request: Any) -> Asked:
    """What a request is about, as far as keys and limits are concerned."""
    room, name = method.split("/")
    if name == "HealthCheck":
        return Asked("greet")
    if room == "Collections":
        if name in ("Get", "CollectionClusterInfo"):
            return Asked("read", request.collection_name)
        if name in ("List", "ListAliases"):
            return Asked("list")
        return Asked("manage", getattr(request, "collection_name", None))
    collection = request.collection_name
    if name not in READS:
        points = getattr(request, "operations", None) or getattr(request, "points", ())
        cost = len(points.points.ids) if isinstance(points, grpc.PointsSelector) else len(points)
        return Asked("write", collection, cost, {"upsert limit": cost} if name == "Upsert" else {})
    if name == "QueryBatch":
        queries = request.query_points
        limits = {
            "limit": max(query.limit for query in queries),
            "search batch size": len(queries),
            "oversampling": max(query.params.quantization.oversampling for query in queries),
            "hnsw_ef": max(query.params.hnsw_ef for query in queries),
        }
        exact = any(query.params.exact for query in queries)
        return Asked("read", collection, len(queries), limits, exact, queries[0].using)
    limit = request.limit if name in ("Scroll", "Facet") else None
    cost = len(request.ids) if name == "Get" else 1
    return Asked("read", collection, cost, {"limit": limit}, bool(getattr(request, "exact", False)))


def wanted(request: Any) -> list[str] | bool:
    return list(request.with_payload.include.fields) or request.with_payload.enable


def point(record: models.Record) -> Any:
    return RestToGrpc.convert_record(record.model_copy(update={"payload": record.payload or {}}))


@contextmanager
def serve_grpc(
    api_key: str | None = None,
    read_only_key: str | None = None,
    client: QdrantClient | None = None,
    tls: wire.ServerCredentials | None = None,
) -> Iterator[tuple[QdrantOverGrpc, int]]:
    """Serve on a free port of this machine until the block ends; yields the server and the port.

    `client` has the points, by default in memory.
    """
    servicer = QdrantOverGrpc(api_key, read_only_key, client)
    with ThreadPoolExecutor(8) as pool:
        server = wire.server(pool, interceptors=[servicer])
        for add in (
            grpc.add_QdrantServicer_to_server,
            grpc.add_CollectionsServicer_to_server,
            grpc.add_PointsServicer_to_server,
        ):
            add(servicer, server)
        at = "127.0.0.1:0"
        port = server.add_secure_port(at, tls) if tls else server.add_insecure_port(at)
        server.start()
        try:
            yield servicer, port
        finally:
            server.stop(None).wait()
    servicer.client.close()
