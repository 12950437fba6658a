"""The compose files as files: they parse, pin their images, open no port to the network and hold no secret."""

import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = ["docker-compose.yml", "compose.cluster.yml"]


def services() -> list[Any]:
    return [
        pytest.param(service, id=f"{file}:{name}")
        for file in FILES
        for name, service in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["services"].items()
    ]


def servers() -> list[Any]:
    return [case for case in services() if case.values[0]["image"].startswith("qdrant/")]


def test_the_cluster_has_three_nodes_of_the_same_image() -> None:
    assert len(servers()) == 4
    assert len({case.values[0]["image"] for case in servers()}) == 1


@pytest.mark.parametrize("service", services())
def test_images_are_pinned_to_a_version(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"[\w/.-]+:v?\d+\.\d+\.\d+[\w.-]*", service["image"])


@pytest.mark.parametrize("service", services())
def test_ports_are_open_to_this_machine_only(service: dict[str, Any]) -> None:
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "network_mode" not in service


@pytest.mark.parametrize("service", services())
def test_services_are_watched_and_bounded(service: dict[str, Any]) -> None:
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["mem_limit"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert not service.get("privileged")


@pytest.mark.parametrize("service", servers())
def test_the_health_check_tells_a_ready_server_from_one_that_is_not(service: dict[str, Any]) -> None:
    *shell, script = service["healthcheck"]["test"][1:]
    assert shell == ["bash", "-c"]
    with answering(200) as ready, answering(503) as starting:
        for port, healthy in ((ready, True), (starting, False), (closed_port(), False)):
            done = subprocess.run([*shell, script.replace("6333", str(port))], capture_output=True, timeout=10)
            assert (done.returncode == 0) == healthy


@pytest.mark.parametrize("service", servers())
def test_a_server_does_not_start_without_both_keys(service: dict[str, Any]) -> None:
    for key in ("API_KEY", "READ_ONLY_API_KEY"):
        value = service["environment"][f"QDRANT__SERVICE__{key}"]
        assert re.fullmatch(rf"\$\{{QDRANT_{key}:\?[^}}]+\}}", value)


@pytest.mark.parametrize("service", servers())
def test_points_outlive_the_container(service: dict[str, Any]) -> None:
    volumes = [volume.split(":") for volume in service["volumes"]]
    assert [target for _, target in volumes] == ["/qdrant/storage"]
    declared = {name for file in FILES for name in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["volumes"]}
    assert volumes[0][0] in declared


@pytest.mark.parametrize("service", servers())
def test_nodes_speak_among_themselves_inside_only(service: dict[str, Any]) -> None:
    assert not any(port.endswith(":6335") for port in service["ports"])
    if "QDRANT__CLUSTER__ENABLED" in service["environment"]:
        assert service["environment"]["QDRANT__SERVICE__ENFORCE_INTERNAL_AUTH"] == "true"


def test_pictures_are_served_and_never_written() -> None:
    images = yaml.safe_load((ROOT / FILES[0]).read_text(encoding="utf-8"))["services"]["images"]
    assert images["read_only"] is True
    assert all(volume.endswith(":ro") for volume in images["volumes"])


def test_the_example_has_no_keys_in_it() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    keys = [line for line in lines if re.match(r"\w+KEY=", line)]
    assert keys == ["QDRANT_API_KEY=", "QDRANT_READ_ONLY_API_KEY="]


@pytest.mark.parametrize("name", [*FILES, ".env.example"])
def test_no_file_holds_what_looks_like_a_secret(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"[A-Za-z0-9+_-]{32,}", re.sub(r"QDRANT_[A-Z_]+", "", text))


def test_git_does_not_see_the_keys() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server on a local port that gives one such answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                request = b""
                # bash sends one line at a time.
                while not request.endswith(b"\r\n\r\n"):
                    request += connection.recv(4096)
                assert request.startswith(b"GET /readyz HTTP/1.1\r\nHost: ")
                connection.sendall(f"HTTP/1.1 {status} said\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
