"""Whoever asks the service: what is not allowed, too large or senseless is refused in one sentence of JSON."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from conftest import Run
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from service import serving

from rubrika.errors import RubrikaError
from rubrika.serve import guard, worker
from rubrika.serve.guard import Tokens
from rubrika.serve.server import is_loopback, tokens_of

WRITE, READ = "w" * 20, "r" * 20
KEDS = {"products": [{"id": 1, "title": "кеды"}]}
NOBODY = {"by": "anna", "labels": [{"product_id": 77, "category_id": None}]}
# What an application may send, on purpose or not.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["id", "product_id", "title", "text_fields", "picture", "image", "rating", "shop_id", "description", "sale"]
PRODUCTS = st.lists(st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), VALUES, max_size=5), max_size=3)
KEYS = ["products", "labels", "by", "product_id", "title", "picture", "top_k", "vector", "category_name"]
BODIES = (
    st.fixed_dictionaries({"products": PRODUCTS}) | st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4) | VALUES
)


@pytest.fixture(scope="module")
def service(index: Path) -> Iterator[httpx.Client]:
    with serving(index) as client:
        yield client


@pytest.fixture(scope="module")
def guarded(index: Path) -> Iterator[httpx.Client]:
    with serving(index, Tokens(WRITE, READ), "0.0.0.0") as client:  # noqa: S104 - the port is this machine's
        yield client


def refusal(done: httpx.Response) -> tuple[int, str]:
    assert list(done.json()) == ["error"]
    assert "\n" not in done.json()["error"]
    return done.status_code, done.json()["error"]


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(["classify", "neighbours", "explain", "labels"]), body=BODIES)
@example(path="classify", body={"products": [{"id": 10**400, "title": "кеды"}]})
@example(path="neighbours", body={"product_id": 2**64})
def test_no_body_whatever_it_holds_is_more_than_refused(service: httpx.Client, path: str, body: object) -> None:
    content = json.dumps(body).encode()
    done = service.post(f"/v1/{path}", content=content, headers={"Content-Type": "application/json"})
    assert done.status_code in (200, 400, 422), done.text
    assert done.status_code == 200 or refusal(done)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"1" * 5_000])
def test_what_is_no_json_is_refused(service: httpx.Client, content: bytes) -> None:
    done = service.post("/v1/classify", content=content, headers={"Content-Type": "application/json"})
    assert refusal(done)[0] in (400, 422)


@pytest.mark.parametrize("path", ["/v1/products/", "/v1/products/%00", "/v1/products/-1", "/v1/categories?limit=x"])
def test_what_no_path_can_mean_is_refused(service: httpx.Client, path: str) -> None:
    assert refusal(service.get(path))[0] in (404, 422)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("undo", {"act": 2**70}),
        ("undo", {"act": 0}),
        ("decide", {"numbers": [str(2**64)], "action": "skip"}),
        ("decide", {"numbers": ["9" * 20], "action": "right"}),
        ("decide", {"numbers": ["1"], "action": "label", "category_id": 2**70}),
    ],
)
def test_the_desk_refuses_numbers_that_nothing_has(service: httpx.Client, path: str, body: dict[str, object]) -> None:
    assert refusal(service.post(f"/desk/{path}", json={"by": "anna", **body}))[0] == 422


@pytest.mark.parametrize("page", ["category?id=", "product?id=", "picture?id=", "review?queue=new&product="])
def test_a_page_of_a_number_that_nothing_has_is_no_fault(service: httpx.Client, page: str) -> None:
    for number in (2**64, 10**20 - 1, 10**4_000, "9" * 5_000):
        assert service.get(f"/{page}{number}").status_code < 500


def test_a_page_elsewhere_cannot_reach_this_machine(service: httpx.Client) -> None:
    # By a name that it makes mean this machine, by its own origin, or by a form, which needs no permission.
    assert refusal(service.post("/v1/classify", json=KEDS, headers={"Host": "evil.example"}))[0] == 421
    assert refusal(service.post("/v1/classify", json=KEDS, headers={"Origin": "http://evil.example"}))[0] == 403
    form = {"Content-Type": "text/plain"}
    assert refusal(service.post("/v1/classify", content=b"{}", headers=form))[0] == 415
    asked = service.options("/v1/classify", headers={"Origin": "http://evil.example"})
    assert not [name for name in asked.headers if name.startswith("access-control")]
    own = {"Origin": str(service.base_url).rstrip("/")}
    assert service.post("/v1/classify", json=KEDS, headers=own).status_code == 200


def test_with_a_token_only_those_who_have_it_ask_and_the_reading_one_changes_nothing(guarded: httpx.Client) -> None:
    def asked(path: str, body: object, token: str | None) -> int:
        headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
        return guarded.post(path, json=body, headers=headers).status_code

    classify = [asked("/v1/classify", KEDS, token) for token in (None, "é", "w" * 19, READ, WRITE)]
    assert classify == [401, 401, 401, 200, 200]
    # The one that may write is told that there is no such product.
    assert [asked("/v1/labels", NOBODY, token) for token in (None, READ, WRITE)] == [401, 403, 422]
    # What waits for a person is kept, too.
    reviewed = [asked("/v1/classify", {"products": [], "review": True}, token) for token in (None, READ, WRITE)]
    assert reviewed == [401, 403, 200]
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/healthz").status_code == 200


def test_another_address_takes_a_token(rubrika: Callable[..., Run], index: Path) -> None:
    done = rubrika("serve", "--index", index, "--host", "0.0.0.0")  # noqa: S104
    assert done.code == 2
    assert "RUBRIKA_TOKEN" in done.err
    short = rubrika("serve", "--index", index, RUBRIKA_TOKEN="secret")
    assert short.code == 2
    assert "secret" not in short.err
    with pytest.raises(RubrikaError, match="anybody could write"):
        tokens_of({"RUBRIKA_READ_TOKEN": READ})
    assert WRITE not in repr(tokens_of({"RUBRIKA_TOKEN": WRITE}))
    assert all(map(is_loopback, ("127.0.0.1", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "shop")))  # noqa: S104


def test_a_port_that_is_taken_and_a_folder_without_an_index_are_told(
    rubrika: Callable[..., Run], service: httpx.Client, index: Path, tmp_path: Path
) -> None:
    taken = rubrika("serve", "--index", index, "--port", service.base_url.port)
    assert taken.code == 1
    assert "choose another --port" in taken.err
    assert rubrika("serve", "--index", tmp_path / "none").code == 1


def test_bodies_and_queues_are_bounded(service: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {"products": [{"id": 1, "title": "кеды"}] * 1_001}
    assert refusal(service.post("/v1/classify", json=many))[0] == 422
    with monkeypatch.context() as patch:
        patch.setattr(guard, "MAX_BODY", 1_000)
        assert refusal(service.post("/v1/classify", json=many))[0] == 413
        pieces = (b" " * 600 for _ in range(2))
        headers = {"Content-Type": "application/json"}
        assert refusal(service.post("/v1/classify", content=pieces, headers=headers))[0] == 413
    with monkeypatch.context() as patch:
        patch.setattr(guard, "MAX_BODIES", 10)
        assert refusal(service.post("/v1/classify", json=KEDS))[0] == 429
    with monkeypatch.context() as patch:
        patch.setattr(worker, "MAX_JOBS", 0)
        done = service.post("/v1/classify", json=KEDS)
        assert refusal(done)[0] == 429
        assert done.headers["Retry-After"] == "1"
    # What was refused is not held any longer.
    assert service.post("/v1/classify", json=KEDS).status_code == 200


def test_a_page_that_is_not_there_is_a_sentence_too(service: httpx.Client) -> None:
    assert refusal(service.get("/docs"))[0] == 404
    assert refusal(service.get("/v1/classify"))[0] == 405
