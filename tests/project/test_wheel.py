"""What is installed is what was tested: a wheel with every room that runs anywhere, and versions that go together."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Beside the package in the repository, and no part of it.
OUTSIDE = {"tests", "benchmarks", "demo", "docs", "examples", "notebooks", "build"}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What pages are made of.
PAGES = ("report/templates", "serve/locale", "serve/static", "serve/templates")


def rooms() -> set[str]:
    """The folders of the repository that hold code of the package; hidden ones hold somebody else's."""
    found = {path.parent.relative_to(ROOT) for path in ROOT.glob("[!.]*/**/*.py")}
    return {room.as_posix() for room in found if room.parts[0] not in OUTSIDE}


def requirements() -> Iterator[Requirement]:
    for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        yield from map(Requirement, group)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, so that nothing of an earlier build is in it and none of this one stays."""
    copy, built = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for room in rooms() | {"tests", "benchmarks"}:
        shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (*ROOT.glob("*.py"), *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE", "py.typed"))):
        shutil.copy(file, copy)
    build = [*PIP, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(built), str(copy)]
    subprocess.run(build, check=True, capture_output=True, text=True)
    [path] = built.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    install = [*PIP, "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True, text=True)
    return target


def test_every_room_is_in_the_wheel_and_nothing_besides(wheel: Path) -> None:
    names = [name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert {Path(name).parent.as_posix().removeprefix("rubrika").strip("/") for name in names} == {
        "",
        *PAGES,
        *rooms(),
    }
    assert {Path(name).suffix for name in names} == {
        *(".py", ".typed", ".toml", ".html", ".css", ".mplstyle", ".js", ".po", ".svg"),
    }
    here = {path.relative_to(ROOT).as_posix() for room in rooms() for path in (ROOT / room).glob("*.py")}
    read = {
        "sample/families.toml",
        *(f"{folder}/{path.name}" for folder in PAGES for path in (ROOT / folder).iterdir()),
    }
    assert {f"rubrika/{file}" for file in here | read} - set(names) == set()


@pytest.mark.parametrize("entry", ["the module", "the command"])
def test_the_wheel_runs_outside_the_repository(installed: Path, tmp_path: Path, entry: str) -> None:
    start = ["-m", "rubrika.cli"] if entry == "the module" else [str(installed / "bin/rubrika")]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *start, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "classify" in run("--help")
    run("sample", "market", "--products", "300")
    assert "categories" in run("stats", "market/train.parquet")


def test_the_wheel_and_not_the_repository_is_what_ran(installed: Path, tmp_path: Path) -> None:
    where = [sys.executable, "-c", "import rubrika, rubrika.cli; print(rubrika.cli.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(installed)}
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(installed)


def test_installed_packages_go_together() -> None:
    done = subprocess.run([*PIP, "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert all(re.fullmatch(r"[\w.+!-]+", version) for version in pinned.values())
    return {str(canonicalize_name(name)): version for name, version in pinned.items()}


def test_the_lock_has_the_versions_that_are_tested_and_hashes_of_each() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entry = re.compile(r"^([\w.-]+)==(\S+)(?: ; .+?)?((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
    locked = {name: version for name, version, _ in entry.findall(text)}
    assert len(locked) == len(re.findall(r"^[^#\s]", text, re.MULTILINE))
    assert locked.items() <= constraints().items()
    # Run `make lock` when one of these is new.
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["train"], *extras["serve"], *extras["excel"]]
    assert {str(canonicalize_name(Requirement(each).name)) for each in wanted} <= locked.keys()


def test_the_versions_that_are_tested_are_within_the_ranges() -> None:
    versions = constraints()
    wanted = {(str(canonicalize_name(each.name)), each.specifier) for each in requirements()}
    assert sorted({name for name, _ in wanted} - set(versions)) == []
    assert [f"{name} {versions[name]}" for name, range_ in wanted if not range_.contains(versions[name])] == []
