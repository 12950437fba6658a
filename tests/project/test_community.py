"""What people expect of a project: workflows that are pinned and call what is there, and advice that works."""

import re
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from house import MIN_LINES

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEXTS = [
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "SECURITY.md",
    "RELEASE.md",
    "CITATION.cff",
    "CHANGELOG.md",
    "LICENSE",
]

every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]


@every_workflow
def test_actions_are_pinned_by_hash_and_rights_are_few(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    assert used
    assert [name for name, version in used if not re.search(r"@[0-9a-f]{40}$", name) or "# v" not in version] == []
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


@every_workflow
def test_workflows_call_what_is_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    lines = [step["run"] for job in jobs(path).values() for step in job["steps"] if "run" in step]
    made = {word for line in lines for word in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    files = {word for line in lines for word in re.findall(r"\b(?:tests|benchmarks)/[\w/.]+", line)}
    assert made - targets == set()
    assert [file for file in files if not (ROOT / file).exists()] == []


@every_workflow
def test_a_step_that_runs_elsewhere_calls_programs_by_their_names(path: Path) -> None:
    steps = [step for job in jobs(path).values() for step in job["steps"] if "working-directory" in step]
    called = [command.split()[0] for step in steps for command in re.split(r"&&|\n", step["run"]) if command.strip()]
    assert [program for program in called if "/" in program and not program.startswith(("/", "$"))] == []


def test_every_python_that_is_promised_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    tested = {
        case["python"] for case in jobs(ROOT / ".github/workflows/ci.yml")["test"]["strategy"]["matrix"]["include"]
    }
    promised = {name.rpartition(" ")[2] for name in project["classifiers"] if re.search(r":: 3\.\d+$", name)}
    assert tested == promised
    assert project["requires-python"] == f">={min(tested, key=lambda each: int(each[2:]))}"


def test_the_real_server_is_that_of_the_compose_file_and_the_newest() -> None:
    matrix = jobs(ROOT / ".github/workflows/ci.yml")["qdrant"]["strategy"]["matrix"]["qdrant"]
    image = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["qdrant"]["image"]
    assert {image.partition(":")[2], "latest"} < set(matrix)


def test_the_texts_that_people_look_for_are_there() -> None:
    assert [name for name in TEXTS if not (ROOT / name).is_file()] == []


def test_the_encoder_of_the_contributors_guide_works(tmp_path: Path) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [code] = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) >= MIN_LINES
    (tmp_path / "letters.py").write_text(code, encoding="utf-8")
    spec = spec_from_file_location("letters", tmp_path / "letters.py")
    assert spec
    assert spec.loader
    letters = module_from_spec(spec)
    spec.loader.exec_module(letters)
    vectors = letters.LetterEncoder().encode(["чайник", "ЧАЙНИК", "кеды"])
    assert vectors.shape == (3, 64)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert np.array_equal(vectors[0], vectors[1])
    [case] = re.findall(r"^```text\n( +if spec == .*?)^ +elif", text, re.DOTALL | re.MULTILINE)
    assert case in (ROOT / "encode/registry.py").read_text(encoding="utf-8")
    sys.modules.pop("letters", None)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])


def test_the_site_has_every_page_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8").replace("!ENV", ""))
    parts = [it for part in site["nav"] for it in part.values()]
    pages = [
        page for part in parts for it in (part if isinstance(part, list) else [{"": part}]) for page in it.values()
    ]
    assert sorted(pages) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert site["strict"]
    assert site["theme"]["font"] is False  # else every reader asks somebody else for it
