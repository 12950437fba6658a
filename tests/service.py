"""The HTTP service on a free port of this machine, over real connections."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn

from rubrika.api import Index
from rubrika.products.images import PictureFolder
from rubrika.serve.guard import Tokens
from rubrika.serve.server import application


@contextmanager
def serving(
    folder: Path, tokens: Tokens | None = None, host: str = "127.0.0.1", images: Sequence[Path] = ()
) -> Iterator[httpx.Client]:
    """A client of a service over an index, until the block ends; the desk shows pictures of the folders `images`."""
    app = application(Index.open(folder), host, tokens, [PictureFolder.scan(each) for each in images])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
