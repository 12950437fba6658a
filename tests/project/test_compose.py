"""The compose files and the Dockerfile as files: pinned images, no port to the network, no secret, nobody's root."""

import json
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Run
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
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
    assert "RUBRIKA_TOKEN=" in lines


@pytest.mark.parametrize("name", [*FILES, ".env.example"])
def test_no_file_holds_what_looks_like_a_secret(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"[A-Za-z0-9+_-]{32,}", re.sub(r"(QDRANT|RUBRIKA)_[A-Z_]+", "", text))


def test_git_does_not_see_the_keys() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_service_is_nobodys_root_and_writes_only_beside_the_index() -> None:
    service = yaml.safe_load((ROOT / FILES[0]).read_text(encoding="utf-8"))["services"]["rubrika"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108
    assert [volume.rpartition(":")[2] for volume in service["volumes"]] == [
        str(Path(variables()["RUBRIKA_INDEX"]).parent)
    ]
    assert not re.search(r":-0?:|:-0}", service["user"])
    assert re.fullmatch(r"\$\{RUBRIKA_TOKEN:\?[^}]+\}", service["environment"]["RUBRIKA_TOKEN"])
    assert service["image"] == f"rubrika:{PROJECT['project']['version']}"


def test_the_image_has_the_package_without_torch_and_does_not_run_as_root() -> None:
    [installed] = re.findall(r"'\.\[([\w,]+)\]'", dockerfile())
    extras = installed.split(",")
    assert set(extras) <= set(PROJECT["project"]["optional-dependencies"])
    assert {"fastapi", "uvicorn", "openpyxl"} <= closure(extras)
    assert "torch" not in closure(extras)
    assert "torch" in closure(["train"])
    [user] = re.findall(r"^USER (\d+):\d+$", dockerfile(), re.MULTILINE)
    assert int(user) > 0


def test_the_image_is_built_of_the_package_alone() -> None:
    first, *rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    copied = {rule[1:] for rule in rules if rule.startswith("!")}
    packages = {name.removeprefix("rubrika.") for name in PROJECT["tool"]["setuptools"]["packages"]}
    assert first == "*"
    assert copied == packages - {"rubrika"} | {
        "*.py",
        "py.typed",
        "pyproject.toml",
        "constraints.txt",
        "README.md",
        "LICENSE",
    }
    assert all(list(ROOT.glob(name)) for name in copied)


def test_what_the_image_runs_is_a_command_that_wants_a_token(rubrika: Callable[..., Run], tmp_path: Path) -> None:
    entry, *arguments = [*listed("ENTRYPOINT"), *listed("CMD")]
    assert entry in PROJECT["project"]["scripts"]
    index = {"RUBRIKA_INDEX": str(tmp_path / "none")}
    refused = rubrika(*arguments, **index)
    assert (refused.code, "RUBRIKA_TOKEN" in refused.err) == (2, True)
    empty = rubrika(*arguments, **index, RUBRIKA_TOKEN="t" * 20)
    assert (empty.code, "no index" in empty.err) == (1, True), empty.err


@pytest.mark.parametrize("of", ["Dockerfile", FILES[0]])
def test_the_health_check_of_the_service_asks_whether_it_lives(of: str) -> None:
    if of == "Dockerfile":
        command = json.loads(re.findall(r"HEALTHCHECK .*\n +CMD (\[.*\])", dockerfile())[0])
    else:
        check = yaml.safe_load((ROOT / of).read_text(encoding="utf-8"))["services"]["rubrika"]["healthcheck"]
        command = check["test"][1:]
    name, flag, script = command
    assert (name, flag) == ("python", "-c")
    with answering(200, "/healthz") as ready, answering(503, "/healthz") as broken:
        for port, healthy in ((ready, True), (broken, False), (closed_port(), False)):
            asked = [sys.executable, flag, script.replace("8000", str(port))]
            done = subprocess.run(asked, capture_output=True, timeout=10)
            assert (done.returncode == 0) == healthy


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8")


def listed(instruction: str) -> list[str]:
    [found] = re.findall(rf"^{instruction} (\[.*\])$", dockerfile(), re.MULTILINE)
    return json.loads(found)


def variables() -> dict[str, str]:
    [block] = re.findall(r"^ENV ((?:.*\\\n)*.*)$", dockerfile(), re.MULTILINE)
    return dict(pair.split("=", 1) for pair in block.replace("\\\n", " ").split())


def closure(extras: list[str]) -> set[str]:
    """All packages that the project needs with these extras, by what the installed ones say of themselves."""
    groups = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *(each for extra in extras for each in groups[extra])]
    found, ahead = set[tuple[str, str]](), [Requirement(each) for each in wanted]
    while ahead:
        each = ahead.pop()
        for extra in ("", *each.extras):
            if (each.name.lower(), extra) not in found:
                found.add((each.name.lower(), extra))
                needs = map(Requirement, requires(each.name) or ())
                ahead += [it for it in needs if not it.marker or it.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}


@contextmanager
def answering(status: int, path: str = "/readyz") -> Iterator[int]:
    """A server on a local port that gives one such answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                request = b""
                # bash sends one line at a time.
                while not request.endswith(b"\r\n\r\n"):
                    request += connection.recv(4096)
                assert request.startswith(f"GET {path} HTTP/1.1\r\nHost: ".encode())
                connection.sendall(f"HTTP/1.1 {status} said\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
