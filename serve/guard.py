"""Who may ask, and how much: hosts, tokens and sizes are checked before a body is read, and failures are sentences."""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urlsplit

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Message

from rubrika.errors import IndexFolderError, ParameterError, RubrikaError, StoreError
from rubrika.inputs import person_of
from rubrika.products.text import first_line, shortened
from rubrika.serve.metrics import Metrics
from rubrika.serve.pages import page
from rubrika.serve.worker import BusyError

# Bytes of a body, and of all that are being read or answered; seconds that a body may take.
MAX_BODY, MAX_BODIES, BODY_SECONDS = 32_000_000, 256_000_000, 30
MAX_ERROR = 500  # characters of a sentence
MIN_TOKEN = 16
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
# By the names of routes: who asks whether the service lives has no token, and a reading token changes nothing.
OPEN = {"healthz", "readyz", "login_page", "login", "static_file"}
WRITING = {"labels", "decide", "undo", "unskip", "audit"}
_READS = "this token may only read; what changes something needs the writing one"
SESSION = "rubrika"  # the cookie of the pages


@dataclass(frozen=True)
class Tokens:
    """What a request must bear: `write` to ask and correct, `read` to ask only."""

    write: str = field(repr=False)
    read: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for token in filter(None, (self.write, self.read)):
            if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
                reason = f"has at least {MIN_TOKEN} characters, letters and digits without spaces"
                raise ParameterError(f"a token {reason}; make one with `openssl rand -hex 24`")
        if not self.write or self.write == self.read:
            raise ParameterError("the writing token is not empty and not the reading one; make two")


def answer(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    return Response(body, status, {**_HEADERS, **(headers or {})}, "application/json")


def failure(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """A failure, in a sentence."""
    return answer({"error": shortened(first_line(sentence), MAX_ERROR)}, status, headers)


def failure_of(error: Exception) -> Response:
    """The answer to whatever was raised."""
    match error:
        case HTTPException():
            return failure(error.status_code, str(error.detail), dict(error.headers or {}))
        case RequestValidationError():
            return failure(422, _invalid(error))
        case BusyError():
            return failure(429, str(error), {"Retry-After": "1"})
        case IndexFolderError() | StoreError():
            return failure(503, str(error), {"Retry-After": "5"})
        case RubrikaError():
            # What Python calls an image is a picture in a request.
            return failure(422, str(error).replace("`image`", "`picture`"))
        case ClientDisconnect():
            return failure(400, "the body ended before its time")
    logging.getLogger("rubrika.serve").error("a request failed", exc_info=error)
    return failure(500, f"this should not have happened ({type(error).__name__}); the service's log has more")


def _invalid(error: RequestValidationError) -> str:
    """The first thing that is wrong with a request, and where."""
    for each in error.errors():
        place = "".join(f"[{it}]" if isinstance(it, int) else f".{it}" for it in each["loc"][1:]).strip(".")
        if each["type"] == "json_invalid":
            return f"the body is not JSON ({each.get('ctx', {}).get('error', 'it ends early')})"
        return f"{place or 'the body'}: {each['msg']}"
    return "the request is not valid"


def page_of(request: Request, failed: Response) -> Response:
    """The same failure as a page, for whoever looks at it in a browser."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return failed
    if failed.status_code == 401:
        return RedirectResponse("login", 303)
    sentence = json.loads(bytes(failed.body))["error"]
    return page(request, "failure.html", failed.status_code, sentence=sentence)


class Guard:
    """Checks requests of one router."""

    def __init__(self, metrics: Metrics, tokens: Tokens | None, hosts: Collection[str] | None) -> None:
        self._metrics, self._tokens, self._held = metrics, tokens, 0
        self._hosts = None if hosts is None else {host.casefold() for host in hosts}

    async def __call__(self, route: APIRoute, inner: Callable[[Request], Any], request: Request) -> Response:
        """The answer to a request, counted and timed."""
        started, held = time.perf_counter(), 0
        try:
            self._admit(request, route.name)
            if request.method == "POST":
                body = await self._body(request)
                held = len(body)
                request = _replayed(request, body)
            found: Response = await inner(request)
        except Exception as error:
            found = self._failed(request, error)
        finally:
            self._held -= held
        labels = request.method, route.path
        self._metrics.requests.labels(*labels, found.status_code).inc()
        self._metrics.seconds.labels(*labels).observe(time.perf_counter() - started)
        return found

    def _failed(self, request: Request, error: Exception) -> Response:
        """What is answered instead."""
        return failure_of(error)

    def _admit(self, request: Request, name: str) -> None:
        """HTTPException unless the request may be answered; its body has not been read."""
        host = request.headers.get("host", "")
        if self._hosts is not None and _hostname(host) not in self._hosts:
            # A page elsewhere can make its own name mean this machine.
            raise HTTPException(421, "this service is for this machine only: ask it as 127.0.0.1 or localhost")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.casefold() != host.casefold():
            raise HTTPException(403, "a page of another origin may not ask this service")
        if self._tokens and name not in OPEN:
            self._check_token(self._tokens, request, name)
        if request.method == "POST":
            kind = request.headers.get("content-type", "").split(";")[0].strip().casefold()
            if kind != "application/json":
                raise HTTPException(415, "send JSON, with the header Content-Type: application/json")

    def _check_token(self, tokens: Tokens, request: Request, name: str) -> None:
        writes, reads = self._rights(tokens, request)
        if not (writes or reads):
            headers = {"WWW-Authenticate": "Bearer"}
            raise HTTPException(401, "send the service's token in the header Authorization: Bearer TOKEN", headers)
        if name in WRITING and not writes:
            raise HTTPException(403, _READS)

    def check_writes(self, request: Request) -> None:
        """HTTPException unless a request may change something, where its body alone says that it is to."""
        if self._tokens and not self._rights(self._tokens, request)[0]:
            raise HTTPException(403, _READS)

    def _rights(self, tokens: Tokens, request: Request) -> tuple[bool, bool]:
        """Whether a request may write, and whether it may read."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return _rights(tokens, token.strip() if scheme.casefold() == "bearer" else "")

    async def _body(self, request: Request) -> bytes:
        """The whole body, if it is not too large and there is room for it."""
        large = HTTPException(413, f"a body has at most {MAX_BODY:,} bytes; send fewer products at once")
        declared = request.headers.get("content-length", "")
        if declared.isascii() and declared.isdecimal() and int(declared[:20]) > MAX_BODY:
            raise large
        parts, size = list[bytes](), 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    size += len(part)
                    self._held += len(part)
                    if size > MAX_BODY:
                        raise large
                    if self._held > MAX_BODIES:
                        raise BusyError("large requests are under way already; try again in a moment")
                    parts.append(part)
        except TimeoutError:
            self._held -= size
            raise HTTPException(408, f"the body did not come within {BODY_SECONDS} seconds") from None
        except BaseException:
            self._held -= size
            raise
        return b"".join(parts)


class PageGuard(Guard):
    """The same for pages: a browser bears the token in a cookie, and failures are pages."""

    def person(self) -> str:
        """Who decides, as long as nobody says; beyond this machine that cannot be known."""
        return "" if self._tokens else person_of(None)

    def session(self, token: str) -> tuple[str, str]:
        """The cookie of whoever knows a token; HTTPException where it is none."""
        if self._tokens is None:
            return SESSION, ""
        if not any(_rights(self._tokens, token)):
            raise HTTPException(401, "this is not the service's token")
        return SESSION, _session(token)

    def _rights(self, tokens: Tokens, request: Request) -> tuple[bool, bool]:
        given = request.cookies.get(SESSION, "")
        return _rights(Tokens(_session(tokens.write), _session(tokens.read) if tokens.read else None), given)

    def _failed(self, request: Request, error: Exception) -> Response:
        return page_of(request, failure_of(error))


class GuardedRoute(APIRoute):
    """A route whose requests its router's guard sees first."""

    guard: ClassVar[Guard]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, guarded."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await self.guard(self, inner, request)

        return handle


def guarded_by(guard: Guard) -> type[GuardedRoute]:
    """The class of routes that a guard checks."""
    return type("GuardedRoute", (GuardedRoute,), {"guard": guard})


def _rights(tokens: Tokens, given: str) -> tuple[bool, bool]:
    """Whether a token may write and read; all are compared, each in a time that does not tell where it differs."""
    token = given.encode("utf-8", "replace")
    writes = hmac.compare_digest(token, tokens.write.encode())
    return writes, hmac.compare_digest(token, (tokens.read or tokens.write).encode()) or writes


def _session(token: str) -> str:
    """What a browser bears in place of a token, which it does not tell."""
    return hmac.new(token.encode(), b"rubrika desk", "sha256").hexdigest()


def _hostname(host: str) -> str:
    """The name in a Host header, without the port."""
    name = host[: host.find("]") + 1] if host.startswith("[") else host.rpartition(":")[0] or host
    return name.casefold()


def _replayed(request: Request, body: bytes) -> Request:
    """The request with a body that was read already."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await request.receive()

    return Request(request.scope, receive)
