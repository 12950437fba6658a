"""A client for a Qdrant server: over gRPC where that is answered, else over HTTP, with or without TLS."""

import math
import socket
import warnings
from contextlib import suppress
from typing import Any

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient

from rubrika.store.connection import Connection
from rubrika.store.tls import context_of, grpc_files

# Long enough for a far server to accept; where nothing listens, most say so at once.
PROBE_SECONDS = 1.0


def connect(connection: Connection) -> QdrantClient:
    """Make a client, without a request for a collection."""
    if connection.grpc_address is not None and _listens(connection.grpc_address):
        client = _client(connection, connection.grpc_address[1])
        try:
            client.info()
            return client
        except (grpc.RpcError, RuntimeError):
            client.close()
    return _client(connection, None)


def is_grpc(client: QdrantClient) -> bool:
    """Whether a client speaks gRPC."""
    return bool(client.init_options.get("prefer_grpc"))


def _client(connection: Connection, grpc_port: int | None) -> QdrantClient:
    options: dict[str, Any] = {"grpc.enable_http_proxy": 0} if connection.is_loopback else {}
    secure: dict[str, Any] = {}
    if connection.is_tls:
        options |= grpc_files(connection.transport)
        secure["verify"] = context_of(connection.transport, trust_env=not connection.is_loopback)
    with warnings.catch_warnings():
        # Of a key over plain HTTP: Connection allows that to this machine, and where its user says so.
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection", UserWarning)
        return QdrantClient(
            url=connection.url,
            api_key=connection.api_key,
            timeout=math.ceil(connection.timeout),
            prefer_grpc=grpc_port is not None,
            grpc_port=grpc_port or 0,
            grpc_options=options,
            # It asks in a thread, and warns where nobody reads it.
            check_compatibility=False,
            trust_env=not connection.is_loopback,
            **secure,
        )


def _listens(address: tuple[str, int]) -> bool:
    with suppress(OSError):
        socket.create_connection(address, timeout=PROBE_SECONDS).close()
        return True
    return False
