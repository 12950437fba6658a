"""Requests to a Qdrant server: which faults pass, how long to wait before another try, one sentence for the rest."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from rubrika.errors import StoreError
from rubrika.store.connection import Connection

Result = TypeVar("Result")

# What the client raises: its own, gRPC's, and ValueError and KeyError from its in-memory mode and its conversions.
FAULTS = (ResponseHandlingException, UnexpectedResponse, ResourceExhaustedResponse, grpc.RpcError, ValueError, KeyError)
PASSING_STATUS = {408, 429, 500, 502, 503, 504}
PASSING_CODES = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"}
# What gRPC says instead of an HTTP status.
STATUS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404}
# Nothing of such a request was carried out.
REFUSED = {401, 403, 413}
MAX_REASON = 300


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a request is made; waits double, with random jitter so that streams come apart.

    Seven tries take some twenty seconds, about what a server needs to come back.
    """

    tries: int = 7
    first_wait: float = 0.5
    max_wait: float = 15.0
    seed: int = 0


class NoCollectionError(StoreError):
    """The server is there, the collection is not."""


class RefusedError(StoreError):
    """The server did nothing of what it was asked to, for want of a right or because the request is too large."""


class RetryingClient:
    """Makes requests again where a fault passes, and turns any other into one sentence that never holds the key."""

    def __init__(self, connection: Connection, policy: RetryPolicy) -> None:
        self._connection, self._policy = connection, policy
        self._random = random.Random(policy.seed)  # noqa: S311 - spreads waits, guards nothing

    def __call__(self, request: Callable[[], Result]) -> Result:
        """Make a request that is safe to make twice: a lost answer does not tell whether it was carried out."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return request()
            except FAULTS as fault:
                if attempt >= self._policy.tries or not _passes(fault):
                    raise self._sentence(fault) from None
                doubled = self._policy.first_wait * 2.0 ** (attempt - 1) * self._random.uniform(0.5, 1.0)
                requested = float(fault.retry_after_s) if isinstance(fault, ResourceExhaustedResponse) else 0.0
                time.sleep(min(max(doubled, requested), self._policy.max_wait))

    def _sentence(self, fault: Exception) -> StoreError:
        connection, status, reason, missing = self._connection, _status(fault), _reason(fault), _is_missing(fault)
        if status in (401, 403) and connection.api_key:
            what = "the server refuses this API key, or it may only read; set QDRANT_API_KEY to one that may do this"
        elif status in (401, 403):
            what = "the server wants an API key; set QDRANT_API_KEY"
        elif missing:
            what = f"no collection «{connection.collection}» here; make it with `rubrika ingest` or `rubrika push`"
        elif _code(fault) == "DEADLINE_EXCEEDED" or isinstance(_source(fault), httpx.TimeoutException):
            what = f"no answer within {connection.timeout:g} seconds; see whether the server is overloaded, try again"
        elif _code(fault) == "UNAVAILABLE" or isinstance(_source(fault), httpx.TransportError):
            what = f"no server answers ({reason}); start it, or correct the url"
        elif isinstance(fault, ResponseHandlingException) or reason == "status 404":
            what = "what answers is not a Qdrant server; correct the url"
        else:
            what = f"the server refused ({reason})"
        message = f"{connection.server}: {what}"
        # A proxy may quote a request in its answer; the key is cut out wherever it came from.
        message = message.replace(connection.api_key, "…") if connection.api_key else message
        if missing:
            return NoCollectionError(message)
        return RefusedError(message) if status in REFUSED else StoreError(message)


def _passes(fault: Exception) -> bool:
    return (
        isinstance(fault, ResourceExhaustedResponse)
        or isinstance(_source(fault), httpx.TransportError)
        or _code(fault) in PASSING_CODES
        or _status(fault) in PASSING_STATUS
    )


def _is_missing(fault: Exception) -> bool:
    """Whether the server says that the collection does not exist."""
    if isinstance(fault, ValueError):
        return str(fault).startswith("Collection ") and str(fault).endswith("not found")
    return _status(fault) == 404 and "ollection" in _reason(fault)


def _source(fault: Exception) -> Exception | None:
    """The error of the network that the client wraps."""
    return fault.source if isinstance(fault, ResponseHandlingException) else None


def _code(fault: Exception) -> str:
    return fault.code().name if isinstance(fault, grpc.Call) else ""


def _status(fault: Exception) -> int | None:
    """The HTTP status, or the one that a gRPC code stands for."""
    return fault.status_code if isinstance(fault, UnexpectedResponse) else STATUS.get(_code(fault))


def _reason(fault: Exception) -> str:
    reason = str(fault)
    if isinstance(fault, grpc.Call):
        reason = str(fault.details())
    elif isinstance(fault, ResponseHandlingException):
        reason = str(fault.source) or type(fault.source).__name__
    elif isinstance(fault, UnexpectedResponse):
        reason = f"status {fault.status_code}"
        # Only Qdrant answers like this.
        with suppress(ValueError, KeyError, TypeError):
            reason = str(fault.structured()["status"]["error"])
    return " ".join(reason.split())[:MAX_REASON]
