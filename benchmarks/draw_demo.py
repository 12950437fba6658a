"""Draws the README's picture: what its first commands print on the made-up marketplace, as SVG.

python benchmarks/draw_demo.py [--output docs/demo.svg]
"""

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMANDS = (
    "rubrika ingest market/train.parquet",
    "rubrika classify market/test.parquet --details details.parquet --max-error 0.05",
    "rubrika decide details.parquet --max-error 0.1",
    'rubrika explain --title "кроссовки женские беговые" --top-k 5',
    "rubrika info",
)
WIDTH = 100


def output_of(command: str, folder: Path) -> str:
    """What a command prints on stdout, with its colours."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    words = [sys.executable, "-m", *shlex.split(command)]
    done = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def printed(folder: Path) -> str:
    """The commands and what they print, one after the other."""
    output_of("rubrika sample market", folder)
    return "\n".join(f"\x1b[1;32m$ {command}\x1b[0m\n{output_of(command, folder)}" for command in COMMANDS)


def drawn(text: str) -> str:
    """A terminal that shows a text, as SVG that fetches no font."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(text), soft_wrap=False)
    svg = console.export_svg(title="rubrika", unique_id="rubrika")
    return re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("docs/demo.svg"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments.output.write_text(drawn(printed(Path(folder))), encoding="utf-8")


if __name__ == "__main__":
    main()
