"""What can go wrong between the client and a Qdrant server: which faults pass, how long to wait, what to say."""

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
PASSING_CODES: set[object] = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
}
REFUSED_CODES: set[object] = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}
LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a passing fault is tried again; waits double, shortened by chance so that streams come apart.

    The seven tries take some twenty seconds, about what a server needs to come back.
    """

    tries: int = 7
    first_wait: float = 0.5
    longest_wait: float = 15.0
    seed: int = 0


class NoCollectionError(StoreError):
    """The server is there, the collection is not."""


class RetryingClient:
    """Makes every request to a server, and turns what goes wrong into one sentence.

    Args:
        connection: whom the sentences are about, and the key that they must not hold.
        policy: how often to try again.
    """

    def __init__(self, connection: Connection, policy: RetryPolicy) -> None:
        self._connection, self._patience = connection, policy
        self._chance = random.Random(policy.seed)  # noqa: S311 - spreads waits, guards nothing

    def __call__(self, work: Callable[[], Result]) -> Result:
        """Do `work`, which must be safe to do twice: a lost answer does not tell whether it was done."""
        for attempt in range(1, self._patience.tries):
            try:
                return work()
            except FAULTS as fault:
                if not _passes(fault):
                    raise self.sentence(fault) from None
                time.sleep(self._wait(attempt, fault))
        try:
            return work()
        except FAULTS as fault:
            raise self.sentence(fault) from None

    def _wait(self, attempt: int, fault: Exception) -> float:
        policy = self._patience
        doubled = policy.first_wait * 2.0 ** (attempt - 1) * self._chance.uniform(0.5, 1.0)
        asked = float(fault.retry_after_s) if isinstance(fault, ResourceExhaustedResponse) else 0.0
        return min(max(doubled, asked), policy.longest_wait)

    def sentence(self, fault: Exception) -> StoreError:
        """Say what happened, about which server, and what to do."""
        connection = self._connection
        status, said = _status(fault), _reason(fault)
        if status in (401, 403):
            what = _refusal(connection)
        elif _is_missing(fault):
            what = f"no collection «{connection.collection}» here; make it with `rubrika ingest` or `rubrika push`"
        elif _timed_out(fault):
            what = f"no answer within {connection.timeout:g} seconds; see whether the server is overloaded, try again"
        elif _is_network(fault):
            what = f"no server answers ({said}); start it, or correct the url"
        elif isinstance(fault, ResponseHandlingException) or said == "status 404":
            what = "what answers is not a Qdrant server; correct the url"
        else:
            what = f"the server refused ({said})"
        message = f"{connection.server}: {what}"
        # A proxy may quote a request in its answer; the key is cut out wherever it came from.
        kind = NoCollectionError if _is_missing(fault) else StoreError
        return kind(message.replace(connection.api_key, "…") if connection.api_key else message)


def _is_missing(fault: Exception) -> bool:
    """Whether the server says that the collection does not exist."""
    if isinstance(fault, ValueError):
        return str(fault).startswith("Collection ") and str(fault).endswith("not found")
    return _status(fault) == 404 and "ollection" in _reason(fault)


def _refusal(connection: Connection) -> str:
    if connection.api_key:
        return "the server refuses this API key, or it may only read; set QDRANT_API_KEY to one that may do this"
    return "the server wants an API key; set QDRANT_API_KEY"


def _passes(fault: Exception) -> bool:
    if isinstance(fault, grpc.RpcError):
        return _code(fault) in PASSING_CODES
    if isinstance(fault, ResponseHandlingException):
        return isinstance(fault.source, httpx.TransportError)
    return isinstance(fault, ResourceExhaustedResponse) or _status(fault) in PASSING_STATUS


def _timed_out(fault: Exception) -> bool:
    if isinstance(fault, grpc.RpcError):
        return _code(fault) is grpc.StatusCode.DEADLINE_EXCEEDED
    return isinstance(fault, ResponseHandlingException) and isinstance(fault.source, httpx.TimeoutException)


def _is_network(fault: Exception) -> bool:
    if isinstance(fault, grpc.RpcError):
        return _code(fault) is grpc.StatusCode.UNAVAILABLE
    return isinstance(fault, ResponseHandlingException) and isinstance(fault.source, httpx.TransportError)


def _status(fault: Exception) -> int | None:
    """The HTTP status, or the one that a gRPC code stands for."""
    if isinstance(fault, grpc.RpcError):
        return 403 if _code(fault) in REFUSED_CODES else 404 if _code(fault) is grpc.StatusCode.NOT_FOUND else None
    return fault.status_code if isinstance(fault, UnexpectedResponse) else None


def _code(fault: Exception) -> object:
    return fault.code() if isinstance(fault, grpc.Call) else None


def _reason(fault: Exception) -> str:
    """What the server or the network says, on one line and not too long."""
    said = str(fault)
    if isinstance(fault, grpc.Call):
        said = str(fault.details())
    elif isinstance(fault, ResponseHandlingException):
        said = str(fault.source) or type(fault.source).__name__
    elif isinstance(fault, UnexpectedResponse):
        said = f"status {fault.status_code}"
        # Only Qdrant answers like this.
        with suppress(ValueError, KeyError, TypeError):
            said = str(fault.structured()["status"]["error"])
    return " ".join(said.split())[:LONGEST_REASON]
