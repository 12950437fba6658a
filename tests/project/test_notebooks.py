"""The notebooks are true: each runs from its first cell to its last, and is in the format that Jupyter opens."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import FROM_THE_NIGHT, set_up

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").iterdir())
# What takes some seconds; the others run in the night.
QUICK = {"from_csv_to_review_queue.py", "sklearn_and_mlflow.py"}


def runs() -> list[Any]:
    return [pytest.param(it, id=it.name, marks=() if it.name in QUICK else FROM_THE_NIGHT) for it in NOTEBOOKS]


@pytest.mark.parametrize("notebook", runs())
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    with set_up(tmp_path, {"TMPDIR": str(tmp_path)}):
        done = subprocess.run([sys.executable, str(notebook)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_cells_of_which_the_first_is_its_title(notebook: Path) -> None:
    text = notebook.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    before, *cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    assert before == ""
    kinds = [cell.partition("\n")[0] for cell in cells]
    assert set(kinds) == {" [markdown]", ""}
    prose = [cell for cell, kind in zip(cells, kinds, strict=True) if kind]
    assert [line for cell in prose for line in cell.splitlines()[1:] if not re.match(r"#( |$)|$", line)] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_pages_that_a_notebook_names_are_there(notebook: Path) -> None:
    root = notebook.parents[1]
    named = re.findall(r"`((?:docs/)?\w+\.(?:md|py))`", notebook.read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (root / name).exists() and not (notebook.parent / name).exists()] == []
