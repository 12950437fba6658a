"""The router: paths, and what of the index each of them asks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, FastAPI, Header, Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from rubrika.api import CONFIDENCE, MAX_ERROR, NEW_RATE, Index
from rubrika.errors import ParameterError, RubrikaError
from rubrika.index.folder import Index as Opened
from rubrika.inputs import columns_of
from rubrika.products.identity import MAX_PATH
from rubrika.products.images import PictureFolder
from rubrika.products.product import Product
from rubrika.products.text import RowError
from rubrika.retrieve.guarantee import Policy
from rubrika.retrieve.predictions import policy_of
from rubrika.serve import answers
from rubrika.serve import models as of
from rubrika.serve.desk import Desk
from rubrika.serve.guard import Guard, PageGuard, Tokens, answer, guarded_by
from rubrika.serve.journal import MAX_KEY
from rubrika.serve.metrics import CONTENT_TYPE, Metrics
from rubrika.serve.products import ProductReader, Refused, picture_of
from rubrika.serve.worker import Worker

READY_SECONDS = 10
MAX_SHOWN = 1_000  # categories of one answer
Done = TypeVar("Done")
_FAILURES: dict[int | str, dict[str, Any]] = {
    status: {"model": of.Failure, "description": text}
    for status, text in {
        400: "No JSON.",
        401: "No token, where the service has one.",
        403: "A token that may only read, or a page of another origin.",
        408: "A body that came too slowly.",
        413: "A body that is too large.",
        415: "No JSON, by its header.",
        421: "Another host than this machine.",
        422: "Something that cannot be answered, and why.",
        429: "Too much waits already.",
        500: "A fault of the service.",
        503: "The index cannot be used at the moment.",
    }.items()
}


def router(
    index: Index,
    *,
    max_error: float = MAX_ERROR,
    confidence: float = CONFIDENCE,
    new_rate: float = NEW_RATE,
    tokens: Tokens | None = None,
    hosts: Collection[str] | None = None,
    desk: bool = False,
    images: Sequence[PictureFolder] = (),
) -> APIRouter:
    """Routes over an index, for an application of FastAPI; one thread, which ends with the application, has the index.

    Rates are as for `Index.classify`. With `tokens` every request but those about health must bear one. `hosts` are
    the names that the service may be asked by, by default any: name this machine's where there are no tokens. With
    `desk` there are the pages of the review desk too, which show pictures of the folders `images`.
    """
    service = _Service(index, policy_of(max_error, confidence, new_rate), tokens, hosts)
    if desk:
        service.open_desk(index.at.folder, images)
    return service.router()


class _Service:
    """One index, its worker and its figures."""

    def __init__(self, index: Index, policy: Policy, tokens: Tokens | None, hosts: Collection[str] | None) -> None:
        self._metrics = Metrics(lambda: self._worker.waiting)
        self._worker = Worker(index, partial(answers.predictions, policy=policy, metrics=self._metrics), self._opened)
        self._guard, self._pages = Guard(self._metrics, tokens, hosts), PageGuard(self._metrics, tokens, hosts)
        self._desk: Desk | None = None
        self._reader: ProductReader | None = None

    def _opened(self, index: Opened) -> None:
        """Called by the worker when it has opened the index, at first and after a change."""
        self._metrics.opened(index)
        self._reader = ProductReader(columns_of(None, None, index.folder))

    def open_desk(self, folder: Path, images: Sequence[PictureFolder]) -> None:
        """Have the pages of the review desk, too."""
        self._desk = Desk(folder, self._worker, self._pages, images)

    async def _run(self, work: Callable[[Index], Done]) -> Done:
        return await asyncio.wrap_future(self._worker.run(work))

    async def _read(self, products: Sequence[dict[str, Any]]) -> list[Product | Refused]:
        if self._reader is None:
            await self._run(lambda index: None)
        assert self._reader is not None  # noqa: S101
        return self._reader.read(products)

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        if self._desk:
            self._desk.start()
        try:
            yield
        finally:
            if self._desk:
                await asyncio.to_thread(self._desk.stop)
            await asyncio.to_thread(self._worker.stop)

    def router(self) -> APIRouter:
        """The routes."""
        made = APIRouter(route_class=guarded_by(self._guard), lifespan=self._lifespan, tags=["rubrika"])
        asks, answers_to = {"responses": _FAILURES}, {"response_model": None}
        for path, method, handler, model in (
            ("/v1/classify", "POST", self.classify, of.ClassifyAnswer),
            ("/v1/neighbours", "POST", self.neighbours, None),
            ("/v1/explain", "POST", self.explain, None),
            ("/v1/labels", "POST", self.labels, of.LabelsAnswer),
            ("/v1/categories", "GET", self.categories, of.CategoriesAnswer),
            ("/v1/products/{product_id:path}", "GET", self.product, None),
            ("/healthz", "GET", self.healthz, None),
            ("/readyz", "GET", self.readyz, None),
            ("/metrics", "GET", self.metrics, None),
        ):
            good: dict[int | str, dict[str, Any]] = {200: {"model": model}} if model else {}
            missing = {404: {"model": of.Failure, "description": "No such product."}} if "{" in path else {}
            responses = good | missing | asks["responses"]
            described = answers_to | ({"response_class": PlainTextResponse} if path == "/metrics" else {})
            made.add_api_route(path, handler, methods=[method], responses=responses, **described)  # type: ignore[arg-type]
        if self._desk:
            made.include_router(self._desk.router())
        return made

    async def classify(self, asked: of.ClassifyRequest, request: Request) -> Response:
        """Predict the category of every product, as `rubrika classify --details` does."""
        if asked.review:
            self._guard.check_writes(request)
            if self._desk is None:
                raise ParameterError("`review`: this service has no review desk; leave it out")
        read = await self._read(asked.products)
        good = [each for each in read if isinstance(each, Product)]
        rows = await asyncio.wrap_future(self._worker.classify(good)) if good else []
        if asked.review and self._desk:
            await asyncio.to_thread(self._desk.queue, rows, good)
        self._metrics.rejected(len(read) - len(good))
        found = iter(rows)
        whole = [answers.refused(each) if isinstance(each, Refused) else next(found) for each in read]
        return answer({"predictions": whole})

    async def neighbours(self, asked: of.NeighboursRequest) -> Response:
        """The labelled products most like a stored product, a title or a picture, best first."""
        id, title, image = asked.product_id, asked.title, _picture(asked.picture)
        found = await self._run(
            lambda index: index.neighbours(id, title=title, image=image, top_k=asked.top_k, vector=asked.vector)
        )
        return answer(found.to_dict())

    async def explain(self, asked: of.ExplainRequest) -> Response:
        """What a prediction rests on: the vote, the supporting neighbours, and the words that mattered."""
        id, title, image = asked.product_id, asked.title, _picture(asked.picture)
        found = await self._run(lambda index: index.explain(id, title=title, image=image, top_k=asked.top_k))
        return answer(found.to_dict())

    async def labels(
        self,
        asked: of.LabelsRequest,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=MAX_KEY)] = None,
    ) -> Response:
        """Correct labels, or add labelled products; they vote at once, and later ingests keep them.

        Sent again under the same Idempotency-Key, it is not made again, and has the same answer.
        """
        return answer(await self._run(partial(answers.correct, asked=asked, key=idempotency_key)))

    async def categories(
        self,
        q: Annotated[str, Query(max_length=MAX_PATH, examples=["кроссовки"])] = "",
        limit: Annotated[int, Query(ge=0, le=MAX_SHOWN)] = 20,
    ) -> Response:
        """Categories by words of their paths, or by an id."""
        return answer(await self._run(lambda index: answers.categories(index.opened(), q, limit)))

    async def product(self, product_id: str) -> Response:
        """A stored product."""
        try:
            return answer(await self._run(lambda index: answers.stored_product(index.opened(), product_id)))
        except answers.NotFoundError as error:
            raise HTTPException(404, str(error)) from None

    async def healthz(self) -> Response:
        """Whether the service lives."""
        return answer({"status": "ok"})

    async def readyz(self) -> Response:
        """Whether the index can be asked."""
        try:
            async with asyncio.timeout(READY_SECONDS):
                await self._run(lambda index: index.opened().manifest)
        except (RubrikaError, TimeoutError) as error:
            raise HTTPException(503, str(error) or f"the index was busy for {READY_SECONDS} seconds") from None
        return answer({"status": "ready"})

    async def metrics(self) -> Response:
        """Figures for Prometheus."""
        return Response(self._metrics.text(), headers={"Cache-Control": "no-store"}, media_type=CONTENT_TYPE)


def _picture(given: str | None) -> bytes | None:
    try:
        return None if given is None else picture_of(given)
    except RowError as error:
        raise ParameterError(str(error)) from None
