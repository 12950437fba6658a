"""`rubrika serve`: the service alone, on this machine, or elsewhere with a token."""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address
from multiprocessing.connection import wait

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from rubrika import __version__
from rubrika.api import Index
from rubrika.errors import ParameterError, RubrikaError
from rubrika.products.images import PictureFolder
from rubrika.serve.guard import Tokens, failure_of, page_of
from rubrika.serve.service import router

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
# Seconds that requests under way have when the service is to end.
PATIENCE = 10
BACKLOG = 2_048  # connections that wait to be accepted


def application(
    index: Index, host: str, tokens: Tokens | None, images: Sequence[PictureFolder] = (), **rates: float
) -> FastAPI:
    """The service as an application that answers at `host`, with the review desk."""
    # Its pages of documentation would load scripts from elsewhere.
    app = FastAPI(title="Rubrika", version=__version__, docs_url=None, redoc_url=None)
    hosts = {*LOOPBACK, _bracketed(host)} if is_loopback(host) else None
    app.include_router(router(index, tokens=tokens, hosts=hosts, desk=True, images=images, **rates))

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> Response:
        unknown = f"there is no {request.method} {request.url.path}; /openapi.json lists what there is"
        return page_of(request, failure_of(HTTPException(error.status_code, unknown, error.headers)))

    return app


def run(
    index: Index,
    host: str,
    port: int,
    listening: Callable[[str], None],
    images: Sequence[PictureFolder] = (),
    workers: int = 1,
    **rates: float,
) -> None:
    """Answer at an address until SIGINT or SIGTERM; `listening` is called with its url when the port is ours.

    Of several `workers` each is a process with the index open.
    """
    tokens = tokens_of(os.environ)
    if tokens is None and not is_loopback(host):
        reason = "is not this machine alone, and whoever reaches it could change the index"
        raise ParameterError(f"`host` {host} {reason}; set RUBRIKA_TOKEN, or leave it out")
    try:
        import uvicorn  # noqa: F401
    except ModuleNotFoundError:
        raise RubrikaError("the service needs uvicorn; pip install 'rubrika[serve]'") from None
    # What is wrong with the index is known before anybody asks.
    index.opened()
    with _bound(host, port) as listener:
        listening(f"http://{_bracketed(host)}:{listener.getsockname()[1]}")
        if workers == 1:
            _answer(listener, index, host, tokens, images, rates)
        else:
            index.close()
            # Without its terminal, which stays in this process.
            _supervise(workers, listener, Index(index.at), host, tokens, images, rates)


def _answer(
    listener: socket.socket,
    index: Index,
    host: str,
    tokens: Tokens | None,
    images: Sequence[PictureFolder],
    rates: Mapping[str, float],
) -> None:
    """Answer in this process; a worker ends with the one that started it."""
    import uvicorn

    if parent := multiprocessing.parent_process():

        def follow() -> None:
            parent.join()
            signal.raise_signal(signal.SIGTERM)

        threading.Thread(target=follow, daemon=True).start()
    config = uvicorn.Config(
        application(index, host, tokens, images, **rates),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=PATIENCE,
    )
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


def _supervise(workers: int, *given: object) -> None:
    """Answer in so many processes, until this one is told to end or one of them does."""
    # A fork would share the threads of what is open here.
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_answer, args=given) for _ in range(workers)]
    # As uvicorn does, also where whoever started this ignores SIGINT, as a shell's background does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    ended = False
    try:
        for process in processes:
            process.start()
        ended = bool(wait([process.sentinel for process in processes]))
    except KeyboardInterrupt:
        pass
    finally:
        for process in [each for each in processes if each.pid]:
            process.terminate()
            process.join()
    if ended:
        raise RubrikaError("a worker of the service ended; see above why, and start it again")


def tokens_of(environment: Mapping[str, str]) -> Tokens | None:
    """RUBRIKA_TOKEN and RUBRIKA_READ_TOKEN."""
    write, read = (environment.get(name) or None for name in ("RUBRIKA_TOKEN", "RUBRIKA_READ_TOKEN"))
    if read and not write:
        raise ParameterError("RUBRIKA_READ_TOKEN is set and RUBRIKA_TOKEN is not: then anybody could write; set both")
    return Tokens(write, read) if write else None


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Connections inherit it: else the end of an answer may wait 40 ms for somebody to say that its start came.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = error.strerror or str(error)
        raise RubrikaError(f"{host}, port {port}: cannot be listened at ({reason}); choose another `port`") from None
