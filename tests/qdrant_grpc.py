"""A real gRPC server that answers as Qdrant does, its points in the client's memory mode, and that fails on demand."""

# The names and messages are the protocol's, generated without types.
# ruff: noqa: ANN401, N802

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import grpc as wire
from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

DONE = grpc.PointsOperationResponse(result=grpc.UpdateResult(status=grpc.UpdateStatus.Completed))


class QdrantOverGrpc(grpc.QdrantServicer, grpc.CollectionsServicer, grpc.PointsServicer):
    """Collections in memory, served on a local port.

    Attributes:
        api_key: the key that every request must carry, when there is one.
        failing: codes that the next requests end with.
        seconds: how long every answer takes.
    """

    def __init__(self, api_key: str | None, client: QdrantClient | None = None) -> None:
        self.client, self.lock = client or QdrantClient(":memory:"), Lock()
        self.api_key, self.failing, self.seconds = api_key, list[wire.StatusCode](), 0.0
        self.links: dict[str, int] = {}

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        code = self.failing.pop(0) if self.failing else None
        known = self.api_key is None or dict(details.invocation_metadata).get("api-key") == self.api_key
        if code is None and not known and not details.method.endswith("HealthCheck"):
            code = wire.StatusCode.UNAUTHENTICATED
        if code is None and self.seconds:
            return self.slowly(continuation(details))
        if code is None:
            return continuation(details)
        return wire.unary_unary_rpc_method_handler(lambda request, context: context.abort(code, "said the server"))

    def slowly(self, handler: Any) -> Any:
        def answer(request: Any, context: Any) -> Any:
            time.sleep(self.seconds)
            return handler.unary_unary(request, context)

        return wire.unary_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)

    def HealthCheck(self, request: Any, context: Any) -> Any:
        return grpc.HealthCheckReply(title="qdrant", version="1.19.0")

    def Get(self, request: Any, context: Any) -> Any:
        if isinstance(request, grpc.GetPoints):
            ids = [GrpcToRest.convert_point_id(id) for id in request.ids]
            payload = wanted(request)
            found = self.client.retrieve(request.collection_name, ids, payload, request.with_vectors.enable)
            return grpc.GetResponse(result=list(map(point, found)))
        try:
            info = self.client.get_collection(request.collection_name)
        except ValueError:
            context.abort(
                wire.StatusCode.NOT_FOUND, f"Not found: Collection `{request.collection_name}` doesn't exist!"
            )
        aliases = {each.alias_name: each.collection_name for each in self.client.get_aliases().aliases}
        info.config.hnsw_config.m = self.links[aliases.get(request.collection_name, request.collection_name)]
        return grpc.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))

    def Create(self, request: Any, context: Any) -> Any:
        vectors = {
            name: models.VectorParams(size=params.size, distance=GrpcToRest.convert_distance(params.distance))
            for name, params in request.vectors_config.params_map.map.items()
        }
        metadata = GrpcToRest.convert_payload(request.metadata)
        self.client.create_collection(request.collection_name, vectors_config=vectors, metadata=metadata)
        self.links[request.collection_name] = request.hnsw_config.m
        return grpc.CollectionOperationResponse(result=True)

    def Update(self, request: Any, context: Any) -> Any:
        if request.HasField("hnsw_config") and request.hnsw_config.HasField("m"):
            self.links[request.collection_name] = request.hnsw_config.m
        if request.metadata:
            self.client.update_collection(
                request.collection_name, metadata=GrpcToRest.convert_payload(request.metadata)
            )
        return grpc.CollectionOperationResponse(result=True)

    def ListAliases(self, request: Any, context: Any) -> Any:
        found = self.client.get_aliases().aliases
        named = [grpc.AliasDescription(alias_name=it.alias_name, collection_name=it.collection_name) for it in found]
        return grpc.ListAliasesResponse(aliases=named)

    def UpdateAliases(self, request: Any, context: Any) -> Any:
        self.client.update_collection_aliases([GrpcToRest.convert_alias_operations(it) for it in request.actions])
        return grpc.CollectionOperationResponse(result=True)

    def CreateFieldIndex(self, request: Any, context: Any) -> Any:
        return DONE

    def Upsert(self, request: Any, context: Any) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        with self.lock:
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
        found, offset = self.client.scroll(
            *(request.collection_name, None, request.limit, None, offset),
            with_payload=wanted(request),
            with_vectors=request.with_vectors.enable,
        )
        following = offset and RestToGrpc.convert_extended_point_id(offset)
        return grpc.ScrollResponse(result=map(point, found), next_page_offset=following)

    def Facet(self, request: Any, context: Any) -> Any:
        hits = self.client.facet(request.collection_name, request.key, limit=request.limit).hits
        found = [grpc.FacetHit(value=grpc.FacetValue(integer_value=hit.value), count=hit.count) for hit in hits]
        return grpc.FacetResponse(hits=found)

    def Count(self, request: Any, context: Any) -> Any:
        return grpc.CountResponse(result=grpc.CountResult(count=self.client.count(request.collection_name).count))


def wanted(request: Any) -> list[str] | bool:
    return list(request.with_payload.include.fields) or request.with_payload.enable


def point(record: models.Record) -> Any:
    return RestToGrpc.convert_record(record.model_copy(update={"payload": record.payload or {}}))


@contextmanager
def serve_grpc(api_key: str | None = None, client: QdrantClient | None = None) -> Iterator[tuple[QdrantOverGrpc, int]]:
    """Serve on a free port of this machine until the block ends; yields the server and the port.

    `client` has the points, by default in memory.
    """
    servicer = QdrantOverGrpc(api_key, client)
    with ThreadPoolExecutor(8) as pool:
        server = wire.server(pool, interceptors=[servicer])
        for add in (
            grpc.add_QdrantServicer_to_server,
            grpc.add_CollectionsServicer_to_server,
            grpc.add_PointsServicer_to_server,
        ):
            add(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield servicer, port
        finally:
            server.stop(None).wait()
    servicer.client.close()
