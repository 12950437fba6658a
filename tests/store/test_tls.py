"""TLS as companies have it: an authority of their own, certificates of clients, and each mistake told apart."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from certificates import Certificates, make
from conftest import Run
from points import SIZE, shelf
from qdrant_grpc import serve_grpc
from qdrant_http import serve

from rubrika.errors import StoreError
from rubrika.store.connection import Connection, ServerOptions, Transport
from rubrika.store.server import ServerStore

Rubrika = Callable[..., Run]
SIZES = {"text": SIZE}
# Nothing listens there, so what works went another way.
NOWHERE = 1


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make(tmp_path_factory.mktemp("certificates"))


@contextmanager
def secured(kind: str, certificates: Certificates, client_wanted: bool = False) -> Iterator[tuple[str, dict[str, str]]]:
    """A stand-in that speaks TLS: its url, and the environment in which it is found."""
    if kind == "http":
        with serve(tls=certificates.for_http(client_wanted)) as server:
            yield server.url, {}
    else:
        with serve_grpc(tls=certificates.for_grpc(client_wanted)) as (_, port):
            yield f"https://127.0.0.1:{NOWHERE}", {"QDRANT_GRPC_PORT": str(port)}


def both(test: Callable[..., None]) -> Callable[..., None]:
    return pytest.mark.parametrize("kind", ["http", "grpc"])(test)


def filled(url: str, **environment: str) -> int:
    """How many products are stored in a new collection, with what the environment says."""
    connection = Connection(url, "products", transport=Transport.of(environment))
    store = ServerStore(connection, SIZES, create=ServerOptions())
    store.upsert(shelf(20))
    count = store.count()
    store.close()
    return count


@both
def test_an_authority_of_ones_own_is_named_once_for_both_ways(certificates: Certificates, kind: str) -> None:
    with secured(kind, certificates) as (url, environment):
        assert filled(url, **environment, QDRANT_CA_CERT=str(certificates.file("authority.pem"))) == 20


@both
def test_a_server_that_wants_a_certificate_gets_one(certificates: Certificates, kind: str) -> None:
    trusted = {"QDRANT_CA_CERT": str(certificates.file("authority.pem"))}
    ours = {f"QDRANT_CLIENT_{name}": str(certificates.file(f"client.{end}")) for name, end in NAMES.items()}
    with secured(kind, certificates, client_wanted=True) as (url, environment):
        assert filled(url, **environment, **trusted, **ours) == 20
        with pytest.raises(StoreError) as refused:
            filled(url, **environment, **trusted)
    if kind == "http":
        assert "it wants another certificate of yours" in str(refused.value)
        assert str(refused.value).endswith("set QDRANT_CLIENT_CERT and QDRANT_CLIENT_KEY")


NAMES = {"CERT": "pem", "KEY": "key"}


def check(rubrika: Rubrika, url: str, *options: object, **environment: str) -> Run:
    return rubrika("check", "--url", url, "--index", "nowhere", *options, **environment)


def test_a_certificate_that_nobody_here_trusts_is_said(rubrika: Rubrika, certificates: Certificates) -> None:
    with secured("http", certificates) as (url, _):
        for options in ((), ("--ca-cert", certificates.file("stranger.pem"))):
            done = check(rubrika, url, *options)
            assert (done.code, done.out) == (1, "")
            said = r"its certificate is not trusted \(.+\); name its authority's as --ca-cert or QDRANT_CA_CERT"
            assert re.fullmatch(rf"rubrika: {url}: {said}\n", done.err)
        trusted = check(rubrika, url, "--ca-cert", certificates.file("authority.pem"), "--json")
        assert trusted.code == 0, trusted.err
        tls = next(each for each in trusted.json["server"]["findings"] if each["name"] == "TLS")
        assert (tls["advice"], tls["is_fault"]) == ("", False)
        assert re.fullmatch(r"TLSv1\.3, its certificate ends in (29|30) days", tls["value"])


def test_each_wrong_url_is_told_apart(rubrika: Rubrika, certificates: Certificates) -> None:
    trusted = {"QDRANT_CA_CERT": str(certificates.file("authority.pem"))}
    with secured("http", certificates) as (url, _):
        assert "it speaks TLS; write https:// in the url" in check(rubrika, url.replace("https:", "http:")).err
    with serve() as plain:
        secure = check(rubrika, plain.url.replace("http:", "https:"), **trusted)
        assert "it speaks plain HTTP, not TLS; write http:// in the url" in secure.err
    grpc = "this is its gRPC port; give the one for HTTP as url, 6333 unless it is set otherwise"
    with serve_grpc() as (_, port):
        assert grpc in check(rubrika, f"http://127.0.0.1:{port}").err
        assert grpc in check(rubrika, f"https://127.0.0.1:{port}", **trusted).err
    with serve_grpc(tls=certificates.for_grpc()) as (_, port):
        assert grpc in check(rubrika, f"https://127.0.0.1:{port}", **trusted).err
    gone = check(rubrika, f"https://127.0.0.1:{port}", **trusted)
    assert (gone.code, "no server answers" in gone.err) == (1, True)


def test_files_that_are_no_certificates_are_said(rubrika: Rubrika, certificates: Certificates, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("кеды", encoding="utf-8")
    with secured("http", certificates) as (url, _):
        none = check(rubrika, url, "--ca-cert", tmp_path / "notes.txt")
        assert "notes.txt: no certificate can be read there; --ca-cert is a file in PEM" in none.err
        missing = check(rubrika, url, "--ca-cert", tmp_path / "missing.pem")
        assert "missing.pem: cannot be read (No such file or directory)" in missing.err
        pair = {f"QDRANT_CLIENT_{name}": str(certificates.file("server.key")) for name in NAMES}
        assert "not a certificate and its private key in PEM" in check(rubrika, url, **pair).err
        half = check(rubrika, url, QDRANT_CLIENT_CERT="client.pem")
        assert "QDRANT_CLIENT_CERT and QDRANT_CLIENT_KEY go together" in half.err


def test_what_grpc_says_itself_stays_off_stderr(certificates: Certificates, tmp_path: Path) -> None:
    with secured("http", certificates) as (url, _), serve_grpc(tls=certificates.for_grpc()) as (_, port):
        # It is tried over gRPC, whose handshake fails, and then over HTTP.
        command = [sys.executable, "-m", "rubrika", "check", "--url", url, "--index", "nowhere"]
        environment = {"QDRANT_GRPC_PORT": str(port), "PATH": "/usr/bin:/bin"}
        environment |= {"PYTHONPATH": ":".join(path for path in sys.path if path)}
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == 1
    assert [line.startswith("rubrika: ") for line in done.stderr.splitlines()] == [True]


def test_a_key_may_cross_a_network_that_is_trusted_by_name(rubrika: Rubrika) -> None:
    url = "http://qdrant.invalid:6333"
    refused = check(rubrika, url, QDRANT_API_KEY="ключ".encode().hex())
    assert "use https://, or QDRANT_ALLOW_HTTP=1 in a network that you trust" in refused.err
    allowed = check(rubrika, url, QDRANT_API_KEY="ключ".encode().hex(), QDRANT_ALLOW_HTTP="1")
    assert "no server answers" in allowed.err


def test_an_index_that_names_a_server_is_reached_with_the_same_files(
    rubrika: Rubrika, copy: Path, certificates: Certificates
) -> None:
    ca = {"QDRANT_CA_CERT": str(certificates.file("authority.pem"))}
    with secured("http", certificates) as (url, _):
        pushed = rubrika("push", "--url", url, "--index", copy, **ca)
        assert pushed.code == 0, pushed.err
        told = rubrika("info", "--index", copy, "--json", **ca)
        assert told.code == 0, told.err
        assert json.loads(told.out)["url"] == url
        assert "its certificate is not trusted" in rubrika("info", "--index", copy).err
