"""Draws a terminal as SVG from a real run of commands.

python benchmarks/screen.py docs/demo.svg 'rubrika info --index demo/index' ...
"""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 100


def main() -> None:
    """Run each command, and save what a person would have seen."""
    target, *commands = sys.argv[1:]
    screen = Console(record=True, width=WIDTH, file=StringIO())
    environment = os.environ | {
        "COLUMNS": str(WIDTH),
        "FORCE_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for command in commands:
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True, env=environment)  # noqa: S602
        screen.print(Text(f"$ {command}", style="bold green"))
        screen.print(Text.from_ansi(done.stdout.rstrip()))
        screen.print()
    Path(target).write_text(screen.export_svg(title="rubrika"), encoding="utf-8")


if __name__ == "__main__":
    main()
