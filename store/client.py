"""Connects to a Qdrant server: over gRPC where that answers, else over HTTP, never through a proxy to this machine."""

import math
import socket
import warnings

import grpc  # type: ignore[import-untyped]
from qdrant_client import QdrantClient

from rubrika.store.connection import Connection

# Long enough for a far server to accept; where nothing listens, most say so at once.
PROBE_SECONDS = 1.0


def connect(connection: Connection) -> QdrantClient:
    """Make a client for a server; nothing is asked of it yet but whether gRPC answers."""
    if connection.grpc_address is not None and _listens(connection.grpc_address):
        client = _client(connection, connection.grpc_address[1])
        try:
            client.info()
        except (grpc.RpcError, RuntimeError):
            client.close()
        else:
            return client
    return _client(connection, None)


def is_local(client: QdrantClient) -> bool:
    """Whether this is the client's own memory or folder mode rather than a server."""
    return client.init_options.get("location") == ":memory:" or client.init_options.get("path") is not None


def _client(connection: Connection, grpc_port: int | None) -> QdrantClient:
    with warnings.catch_warnings():
        # A key over plain HTTP: Connection allows it to this machine only.
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection", UserWarning)
        return QdrantClient(
            url=connection.url,
            api_key=connection.api_key,
            timeout=math.ceil(connection.timeout),
            prefer_grpc=grpc_port is not None,
            grpc_port=grpc_port or 0,
            grpc_options={"grpc.enable_http_proxy": 0} if connection.is_loopback else {},
            # Asks in a thread of its own, and warns where nobody reads it.
            check_compatibility=False,
            trust_env=not connection.is_loopback,
        )


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=PROBE_SECONDS).close()
    except OSError:
        return False
    return True
