"""The documentation: the commands it shows run, and it leaves no command out."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import Run

from rubrika.cli import app
from rubrika.commands import train

ROOT = Path(__file__).parent.parent


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [
        line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.startswith("rubrika ")
    ]


def test_the_commands_of_the_readme_run_on_the_readers_own_products(
    rubrika: Callable[..., Run], market: Path, tmp_path: Path
) -> None:
    shutil.copy(market / "train.parquet", tmp_path / "train.parquet")
    shutil.copy(market / "test.parquet", tmp_path / "new.parquet")
    shown = commands(ROOT / "README.md")
    assert len(shown) >= 5
    for line in shown:
        done = rubrika(*shlex.split(line)[1:], cwd=tmp_path)
        assert done.code == 0, f"{line}: {done.err}"
    assert (tmp_path / "result.parquet").exists()


def test_every_command_is_in_the_documentation() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    names = [str(command.name or command.callback.__name__) for command in app.registered_commands if command.callback]
    names += [f"train {command.callback.__name__}" for command in train.app.registered_commands if command.callback]
    assert [name for name in names if f"rubrika {name}" not in pages] == []
