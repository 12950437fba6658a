"""The review desk: pages on which people decide what the index is unsure of, with keys alone if they like."""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from threading import Lock, Timer
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from rubrika.api import Index
from rubrika.errors import ParameterError, RubrikaError
from rubrika.index.categories import names_of
from rubrika.inputs import category_id_of, person_of, product_id_of
from rubrika.products.identity import MAX_SIGNED, guessed_separator, path_label
from rubrika.products.images import PictureError, PictureFolder, picture_bytes
from rubrika.products.product import ROOT_CATEGORY, SEPARATOR, Product, display_path
from rubrika.products.row import MAX_PERSON
from rubrika.products.text import RowError
from rubrika.serve import answers, pages, views
from rubrika.serve.guard import PageGuard, answer, guarded_by
from rubrika.serve.models import MAX_TEXT, Id, Number, Picture
from rubrika.serve.products import picture_of
from rubrika.serve.queues import fill, sent_in
from rubrika.serve.review import write_decisions
from rubrika.serve.reviews import (
    DISAGREEMENTS,
    LABEL,
    NEW,
    QUEUES,
    RIGHT,
    SKIP,
    SUSPECTS,
    UNCERTAIN,
    Action,
    Filters,
    Item,
    Reviews,
)
from rubrika.serve.settle import IMAGE, category_named, settle
from rubrika.serve.worker import Worker

MAX_BULK, PAGE, CHOICES = 1_000, 50, 12
# Seconds until a decision counts in the index, so that the next page comes first; and until it is tried again.
SOON, RETRY = 0.3, 2.0
ACCEPT = "accept"
KINDS = {"csv": "text/csv; charset=utf-8", "xlsx": "application/octet-stream", "parquet": "application/octet-stream"}
Done = TypeVar("Done")
QueueName = Annotated[str, Query(max_length=20)]
Words = Annotated[str, Query(max_length=MAX_TEXT)]
Rate = Annotated[float, Query(ge=0, le=1)]
By = Annotated[str, Field(min_length=1, max_length=MAX_PERSON)]


class Decide(BaseModel):
    """A decision about products, by their numbers in the store."""

    model_config = ConfigDict(extra="forbid")
    by: By
    queue: str = Field("", max_length=20)
    numbers: Annotated[list[Number], Field(min_length=1, max_length=MAX_BULK)]
    action: Literal["label", "right", "skip", "accept"]
    category_id: Id | None = None
    category_name: str = Field("", max_length=MAX_TEXT)


class Undo(BaseModel):
    """What to take back: an act, or the last of this person."""

    by: By
    act: int | None = Field(None, ge=1, le=MAX_SIGNED)


class Unskip(BaseModel):
    """The queue whose skipped products come back."""

    by: By
    queue: str = Field(max_length=20)


class Person(BaseModel):
    """Who asks for something."""

    by: By


class PictureSearch(BaseModel):
    """A picture to search with."""

    picture: Picture


class Token(BaseModel):
    """A token of the service."""

    token: str = Field(max_length=1_000)


class Desk:
    """The pages over one index, whose worker makes decisions count."""

    def __init__(self, folder: Path, worker: Worker, guard: PageGuard, images: Sequence[PictureFolder]) -> None:
        self.reviews = Reviews(folder)
        self._worker, self._guard, self._images = worker, guard, images
        self._lock = Lock()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Make count what was decided before, when the service was ended."""
        self._later(0.0)

    def stop(self) -> None:
        """Make count what was decided, as far as that can be now."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer:
            timer.cancel()
        self._settle(wait=True)

    def queue(self, rows: Sequence[Mapping[str, Any]], products: Sequence[Product]) -> None:
        """Let products wait that were classified, where a person has to look at them."""
        self.reviews.add(self._run(lambda index: sent_in(index.opened(), rows, products)))

    def router(self) -> APIRouter:
        """The routes; all are on one level, so that the pages work under any prefix."""
        made = APIRouter(route_class=guarded_by(self._guard), include_in_schema=False)
        gets: dict[str, Callable[..., Response]] = {
            "/": self.home,
            "/queue": self.list_queue,
            "/review": self.review,
            "/product": self.product,
            "/category": self.category,
            "/categories": self.categories,
            "/search": self.search,
            "/decisions": self.decisions,
            "/export": self.export,
            "/picture": self.picture,
            "/desk/categories": self.choices,
            "/login": self.login_page,
            "/static/{name}": self.static_file,
        }
        posts: dict[str, Callable[..., Response]] = {
            "/search": self.search_picture,
            "/desk/decide": self.decide,
            "/desk/undo": self.undo,
            "/desk/unskip": self.unskip,
            "/desk/audit": self.audit,
            "/login": self.login,
        }
        for method, routes in (("GET", gets), ("POST", posts)):
            for path, handler in routes.items():
                made.add_api_route(path, handler, methods=[method], response_model=None)
        return made

    # Pages.

    def home(self, request: Request) -> Response:
        """The queues, the last decisions, and where to search."""
        values = self._run(lambda index: views.home(index.opened(), self.reviews))
        return self._page(request, "home.html", **values, **_texts(request))

    def list_queue(
        self,
        request: Request,
        name: QueueName,
        category: Words = "",
        shop: Words = "",
        least: Rate = 0.0,
        most: Rate = 1.0,
        page: Annotated[int, Query(ge=0, le=10**6)] = 0,
    ) -> Response:
        """What waits in a queue, to be filtered and decided together."""
        wanted = Filters(category, shop, least, most)
        count, items = self.reviews.waiting(_queue(name), wanted, PAGE, page * PAGE)
        filters = _filters(wanted)
        values = {"name": name, "title": _texts(request)["names"][name], "wanted": wanted, "filters": filters}
        return self._page(request, "queue.html", **values, count=count, items=items, page=page, size=PAGE)

    def review(
        self,
        request: Request,
        queue: QueueName,
        product: Annotated[str, Query(pattern="^[0-9]{0,20}$")] = "",
        category: Words = "",
        shop: Words = "",
        least: Rate = 0.0,
        most: Rate = 1.0,
    ) -> Response:
        """One product of a queue, by default the next."""
        wanted = Filters(category, shop, least, most)
        count, items = self.reviews.waiting(_queue(queue), wanted, 1)
        item = self.reviews.item(product, queue) if product else next(iter(items), None)
        filters = _filters(wanted)
        if item is None:
            return RedirectResponse(f"queue?name={queue}&{filters}", 303)
        values = {"queue": queue, "queue_name": _texts(request)["names"][queue], "waiting": count, "note": item.note}
        return self._product(request, item, f"review?queue={queue}&{filters}", **values)

    def product(self, request: Request, id: Words) -> Response:
        """One product, stored or waiting anywhere."""
        number = product_id_of(id)

        def found(index: Index) -> Item:
            try:
                return views.stored(index.opened(), number)
            except answers.NotFoundError:
                if (item := self.reviews.item(str(number))) is not None:
                    return item
                raise

        item = self._run(found)
        values = {"queue": "", "queue_name": "", "waiting": 0, "note": ""}
        return self._product(request, item, f"product?{urlencode({'id': id})}", **values)

    def category(self, request: Request, id: Words) -> Response:
        """One category."""
        return self._page(
            request, "category.html", **self._run(lambda index: views.category(index.opened(), self.reviews, id))
        )

    def categories(self, request: Request, q: Words = "") -> Response:
        """All categories, or those with these words."""
        found = self._run(lambda index: answers.categories(index.opened(), q, 4 * PAGE))
        return self._page(request, "categories.html", words=q, **found)

    def search(self, request: Request, q: Words = "") -> Response:
        """The products most like a title."""
        if not q:
            return self._page(request, "search.html", title="", neighbours=[], failed="")
        return self._found(request, q, partial(Index.neighbours, title=q, top_k=2 * CHOICES))

    def search_picture(self, request: Request, asked: PictureSearch) -> Response:
        """The products most like a picture."""
        try:
            image = picture_of(asked.picture)
        except RowError as error:
            raise ParameterError(str(error)) from None
        return self._found(request, "", partial(Index.neighbours, image=image, top_k=2 * CHOICES))

    def decisions(self, request: Request, page: Annotated[int, Query(ge=0, le=10**6)] = 0) -> Response:
        """What was decided, the latest first."""
        found = self.reviews.decisions(PAGE, page * PAGE)
        values = {"decisions": found, "count": self.reviews.decided(), "page": page, "size": PAGE}
        return self._page(request, "decisions.html", **values)

    def export(self, kind: Annotated[Literal["csv", "xlsx", "parquet"], Query(alias="as")] = "csv") -> Response:
        """All decisions that stand, as a table."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"decisions.{kind}"
            write_decisions(self.reviews.decisions(), path)
            content = path.read_bytes()
        named = {"Content-Disposition": f'attachment; filename="decisions.{kind}"'}
        return Response(content, 200, pages.HEADERS | named, KINDS[kind])

    def picture(self, id: Words, side: int = pages.SIDES[0]) -> Response:
        """A product's picture, small; where there is none, an empty one."""
        number = product_id_of(id)
        item = self.reviews.item(str(number))
        found = self._picture_of(id, item)
        shown = pages.thumbnail(found, side) if found and side in pages.SIDES else None
        return shown or pages.no_picture()

    def login_page(self, request: Request) -> Response:
        """Where a token is asked for."""
        return self._page(request, "login.html")

    def static_file(self, name: str) -> Response:
        """A file of the pages."""
        found = pages.static(name)
        if found is None:
            raise HTTPException(404, f"there is no file {name}")
        return found

    # What pages ask for.

    def choices(self, q: Words = "") -> Response:
        """Categories by words of their paths, for a box to choose from."""
        found = self._run(lambda index: answers.categories(index.opened(), q, CHOICES))["categories"]
        return answer({"categories": [each | {"shown": display_path(each["category_name"])} for each in found]})

    def decide(self, asked: Decide) -> Response:
        """Save a decision about products; it counts in the index in a moment."""
        by = person_of(asked.by)
        decided = self._run(partial(self._decided, asked=asked))
        act = self.reviews.decide(decided, by)
        self._later(SOON)
        return answer({"decided": len(decided), "act": act})

    def undo(self, asked: Undo) -> Response:
        """Take a decision back, and show its product, if it was one."""
        taken = self.reviews.undo(person_of(asked.by), asked.act)
        if not taken:
            raise ParameterError("there is no decision to take back")
        self._later(SOON)
        shown = f"review?queue={taken[0].queue}&product={taken[0].number}" if taken[0].queue in QUEUES else None
        return answer({"undone": len(taken), "next": shown if len(taken) == 1 and asked.act is None else None})

    def unskip(self, asked: Unskip) -> Response:
        """Let products wait again that were skipped."""
        self.reviews.unskip(_queue(asked.queue))
        return answer({})

    def audit(self, asked: Person) -> Response:
        """Look for labels that are probably wrong."""

        def work(index: Index) -> dict[str, int]:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "audit.parquet"
                index.audit(path)
                return fill(index.opened(), self.reviews, path)

        return answer(self._run(work) | {"next": f"queue?name={SUSPECTS}"})

    def login(self, asked: Token) -> Response:
        """Remember a token in this browser."""
        found = answer({})
        found.set_cookie(*self._guard.session(asked.token), samesite="strict", httponly=True)
        return found

    # How it is done.

    def _run(self, work: Callable[[Index], Done]) -> Done:
        return self._worker.run(work).result()

    def _page(self, request: Request, template: str, **values: Any) -> Response:  # noqa: ANN401
        return pages.page(request, template, by=self._guard.person(), **values)

    def _product(self, request: Request, item: Item, following: str, **values: Any) -> Response:  # noqa: ANN401
        content = self._content(item)
        shown = self._run(lambda index: views.product(index.opened(), item, content))
        alike = self.reviews.alike(item, MAX_BULK - 1)
        return self._page(request, "product.html", **shown, **values, alike=alike, following=following)

    def _found(self, request: Request, title: str, search: Callable[[Index], Sequence[Any]]) -> Response:
        try:
            values: dict[str, Any] = {"neighbours": self._run(search), "failed": ""}
        except RubrikaError as error:
            values = {"neighbours": [], "failed": str(error)}
        return self._page(request, "search.html", title=title, **values)

    def _picture_of(self, id: int | str, item: Item | None) -> Path | bytes | None:
        if item is not None and (kept := self.reviews.picture(item.number)):
            return kept
        return pages.found_picture(self._images, id, str(((item and item.content) or {}).get(IMAGE) or ""))

    def _decided(self, index: Index, asked: Decide) -> list[tuple[Item, Action, Id | None, str]]:
        """The decision about each product; ParameterError where it can be none, and then nothing is saved."""
        opened, found = index.opened(), list[tuple[Item, Action, Id | None, str]]()
        label = self._label(index, asked) if asked.action == LABEL else (None, "")
        stored = opened.store.fetch([int(number) for number in asked.numbers], payload=False)
        for number in dict.fromkeys(asked.numbers):
            item = self.reviews.item(number, asked.queue or None) or views.stored(opened, int(number))
            if asked.action == ACCEPT and item.predicted_id is None:
                raise ParameterError(f"nothing is predicted for product {item.product_id}; nothing was saved")
            is_stored = int(number) in stored
            if asked.action == RIGHT and not is_stored:
                raise ParameterError(f"product {item.product_id} has no label yet; nothing was saved")
            if asked.action != SKIP and not is_stored and item.content is None:
                raise ParameterError(f"of product {item.product_id} only the id is known; nothing was saved")
            match asked.action:
                case "accept":
                    found.append((item, "label", item.predicted_id, item.predicted))
                case action:
                    found.append((item, action, *label))
        return found

    def _label(self, index: Index, asked: Decide) -> tuple[Id | None, str]:
        """The category that was chosen: its id and path; without an id, a path that may be new."""
        opened = index.opened()
        names = names_of(opened)
        if asked.category_id is not None:
            number = category_id_of("category_id", asked.category_id, opened.folder)
            if number not in names:
                raise ParameterError(f"category {asked.category_id} is not known; nothing was saved")
            return asked.category_id, names[number]
        text = asked.category_name
        path = path_label(text, None if SEPARATOR in text else guessed_separator([text])).path
        if any(name.startswith(ROOT_CATEGORY + SEPARATOR) for name in names.values()):
            path = path if path.startswith(ROOT_CATEGORY) else ROOT_CATEGORY + SEPARATOR + path
        known = category_named(opened, path)
        return (known.key or known.id, known.path) if known.id in names else (None, known.path)

    def _later(self, seconds: float) -> None:
        with self._lock:
            if self._timer is None:
                self._timer = Timer(seconds, self._settle)
                self._timer.daemon = True
                self._timer.start()

    def _settle(self, wait: bool = False) -> None:
        with self._lock:
            self._timer = None
        work = partial(settle, reviews=self.reviews, picture=self._content)
        try:
            self._worker.run(work).result()
        except Exception as error:
            # Somebody else changes the index, or its server is away; whatever it is, nothing is lost.
            unknown = None if isinstance(error, RubrikaError) else error
            logging.getLogger("rubrika.serve").warning("decisions wait: %s", error, exc_info=unknown)
            if not wait:
                self._later(RETRY)

    def _content(self, item: Item) -> bytes | None:
        picture = self._picture_of(item.product_id, item)
        with suppress(PictureError):
            return picture_bytes(picture) if picture else None
        return None


def _queue(name: str) -> str:
    if name not in QUEUES:
        raise HTTPException(404, f"there is no queue {name}; there are {', '.join(QUEUES)}")
    return name


def _filters(wanted: Filters) -> str:
    """Filters as a part of a query, those alone that were given."""
    return urlencode({name: value for name, value in asdict(wanted).items() if value != getattr(Filters(), name)})


def _texts(request: Request) -> dict[str, dict[str, str]]:
    """What the queues are called, and what is in them."""
    _ = pages.translations_of(request).gettext
    names = {
        UNCERTAIN: _("Uncertain"),
        SUSPECTS: _("Labels that may be wrong"),
        NEW: _("Possible new categories"),
        DISAGREEMENTS: _("Disagreements with the catalogue"),
    }
    about = {
        UNCERTAIN: _("Predictions that are not sure enough to stand alone."),
        SUSPECTS: _("Stored products that are more like another category, by encoders that have not seen their label."),
        NEW: _("Products that are like nothing that is stored."),
        DISAGREEMENTS: _("A sure prediction, or the catalogue, says otherwise than the label."),
    }
    return {"names": names, "about": about}
