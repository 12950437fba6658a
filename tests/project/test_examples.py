"""The examples could run: their commands are Rubrika's, their files are read as what they are."""

import ast
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from rubrika.cli import app

EXAMPLES = Path(__file__).parents[2] / "examples"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def called(words: list[str]) -> str:
    """Parse a command as it would be called; a wrong option is an error."""
    assert words[0] == "rubrika"
    COMMANDS[words[1]].make_context(words[1], list(words[2:]))
    return words[1]


def test_the_night_runs_as_a_script(tmp_path: Path) -> None:
    stand_in = tmp_path / "rubrika"
    stand_in.write_text('#!/bin/sh\necho "rubrika $*"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    places = {"CATALOGUE": "catalogue", "NEW": "new", "RESULT": "result", "QDRANT_URL": "http://127.0.0.1:6333"}
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **places, "GOLD": "gold.parquet"}
    done = subprocess.run(["sh", EXAMPLES / "nightly.sh"], env=environment, capture_output=True, text=True, check=True)
    assert [called(line.split()) for line in done.stdout.splitlines()] == ["ingest", "evaluate", "classify"]
    stand_in.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert subprocess.run(["sh", EXAMPLES / "nightly.sh"], env=environment).returncode == 1
    lacks = subprocess.run(["sh", EXAMPLES / "nightly.sh"], env={"PATH": environment["PATH"]}, capture_output=True)
    assert lacks.returncode != 0


def test_the_night_is_a_chain_of_tasks_for_airflow() -> None:
    tree = ast.parse((EXAMPLES / "airflow_dag.py").read_text(encoding="utf-8"))
    names = {"INDEX": "/data/index", "DATA": "/data/2026-01-01"}
    lines = [
        eval(compile(ast.Expression(keyword.value), "dag", "eval"), names)  # noqa: S307 - our own file
        for keyword in ast.walk(tree)
        if isinstance(keyword, ast.keyword) and keyword.arg == "bash_command"
    ]
    assert [called(shlex.split(line)) for line in lines] == ["ingest", "evaluate", "classify"]


def test_the_job_for_kubernetes_names_a_command_its_volumes_and_no_key() -> None:
    job = yaml.safe_load((EXAMPLES / "kubernetes-job.yaml").read_text(encoding="utf-8"))
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert called(["rubrika", *container["args"]]) == "classify"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    [key] = [each for each in container["env"] if each["name"] == "QDRANT_API_KEY"]
    assert "value" not in key


@pytest.mark.parametrize("extra", ["ray", "train"])
def test_the_image_installs_what_the_commands_need(extra: str) -> None:
    text = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
    [extras] = re.findall(r"'\.\[([\w,]+)\]'", text)
    assert extra in extras.split(",")
