"""Requests to a Qdrant server: which faults pass, how long to wait before another try, one sentence for the rest."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from rubrika.errors import StoreError
from rubrika.store.connection import Connection
from rubrika.store.tls import trouble

Result = TypeVar("Result")

# What the client raises: its own, gRPC's, and ValueError and KeyError from its in-memory mode and its conversions.
FAULTS = (ResponseHandlingException, UnexpectedResponse, QdrantException, grpc.RpcError, ValueError, KeyError)
PASSING_STATUS = {408, 429, 500, 502, 503, 504}
PASSING_CODES = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL"}
# What gRPC says instead of an HTTP status.
STATUS = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "INVALID_ARGUMENT": 400}
# How a server, gRPC and a proxy say that a request holds too much.
TOO_LARGE = ("larger than rate limiter capacity", "message larger than max", "message length too large", "status: 413")
MAX_REASON = 300
# A rate limit is waited for as long as the server says, but not for ever.
MAX_TOLD_SECONDS, MAX_TOLD = 600.0, 1_000


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
    """The server understood and did nothing of what it was asked to."""


class TooLargeError(RefusedError):
    """One request held more than the server, or a proxy before it, takes."""


class ForbiddenError(RefusedError):
    """The key is known, but may not do that; `reason` is what the server says."""

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class RetryingClient:
    """Makes requests again where a fault passes, and turns any other into one sentence that never holds the key.

    A rate limit is waited for as long as the server says, which costs none of the tries.
    """

    def __init__(self, connection: Connection, policy: RetryPolicy) -> None:
        self._connection, self._policy = connection, policy
        self._random = random.Random(policy.seed)  # noqa: S311 - spreads waits, guards nothing

    def __call__(self, request: Callable[[], Result]) -> Result:
        """Make a request that is safe to make twice: a lost answer does not tell whether it was carried out."""
        attempt = told = 0
        while True:
            try:
                return request()
            except FAULTS as fault:
                if isinstance(fault, ResourceExhaustedResponse) and told < MAX_TOLD:
                    told, wait = told + 1, float(fault.retry_after_s)
                    if wait > MAX_TOLD_SECONDS:
                        raise self._sentence(fault) from None
                else:
                    attempt += 1
                    if attempt >= self._policy.tries or not _passes(fault):
                        raise self._sentence(fault) from None
                    doubled = self._policy.first_wait * 2.0 ** (attempt - 1) * self._random.uniform(0.5, 1.0)
                    wait = min(doubled, self._policy.max_wait)
                time.sleep(wait)

    def _sentence(self, fault: Exception) -> StoreError:
        connection, status, reason = self._connection, _status(fault), _reason(fault)
        # A proxy may quote a request in its answer; the key is cut out wherever it came from.
        key = connection.api_key
        reason = (reason.replace(key, "…") if key else reason)[:MAX_REASON]
        what = f"{connection.server}: {self._explained(fault, status, reason)}"
        what = what.replace(key, "…") if key else what
        if _is_missing(fault):
            return NoCollectionError(what)
        if status == 403:
            return ForbiddenError(what, reason)
        if status in (400, 401) or isinstance(fault, ValueError):
            return RefusedError(what)
        return TooLargeError(what) if _is_too_large(fault) else StoreError(what)

    def _explained(self, fault: Exception, status: int | None, reason: str) -> str:
        """What went wrong, and what to do."""
        if status in (401, 403):
            return self._refused(status, reason)
        if _is_missing(fault):
            name = self._connection.collection
            return f"no collection «{name}» here; make it with `rubrika ingest` or `rubrika push`"
        if _is_too_large(fault):
            return f"one product is more than a request may hold ({reason}); have that limit raised"
        if isinstance(fault, ResourceExhaustedResponse):
            return f"its rate limit is used up for {fault.retry_after_s} seconds ({reason}); try again after that"
        if "shards failed to apply operation" in reason:
            advice = "see to its nodes, or to fewer copies with `write_consistency`, and run it again"
            return f"too few copies could be written ({reason}); {advice}"
        return self._unanswered(fault, reason) or f"the server refused ({reason})"

    def _refused(self, status: int, reason: str) -> str:
        if not self._connection.api_key:
            return f"the server wants an API key ({reason}); set QDRANT_API_KEY"
        if status == 401:
            return f"the server refuses this API key ({reason}); set QDRANT_API_KEY to one that it knows"
        return f"this API key may not do that ({reason}); set QDRANT_API_KEY to one that may"

    def _unanswered(self, fault: Exception, reason: str) -> str | None:
        """What to say where no answer came, or one that is not Qdrant's."""
        source, code = _source(fault), _code(fault)
        if code == "DEADLINE_EXCEEDED" or isinstance(source, httpx.TimeoutException):
            seconds = f"{self._connection.timeout:g} seconds"
            return f"no answer within {seconds}; see whether the server is overloaded, try again"
        if isinstance(source, httpx.TransportError):
            return trouble(self._connection, reason)
        if code == "UNAVAILABLE":
            return f"no server answers ({reason}); start it, or correct the url"
        if isinstance(fault, ResponseHandlingException) or reason == "status 404":
            return "what answers is not a Qdrant server; correct the url"
        return None


def _passes(fault: Exception) -> bool:
    return not _is_too_large(fault) and (
        isinstance(fault, QdrantException)
        or isinstance(_source(fault), httpx.TransportError)
        or _code(fault) in PASSING_CODES
        or _status(fault) in PASSING_STATUS
    )


def _is_too_large(fault: Exception) -> bool:
    """Whether the same in smaller requests may pass."""
    return _status(fault) == 413 or any(said in _reason(fault) for said in TOO_LARGE)


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
        # Only Qdrant answers like this, or of keys in plain text.
        with suppress(ValueError, KeyError, TypeError):
            reason = str(fault.structured()["status"]["error"])
        if fault.status_code in (401, 403) and fault.headers.get("content-type", "").startswith("text/plain"):
            reason = fault.content.decode(errors="replace")
    return " ".join(reason.split())
