"""The README's picture shows what its commands print today, whatever the figures and seconds are."""

import html
import re
from pathlib import Path
from runpy import run_path

from conftest import FROM_THE_NIGHT

ROOT = Path(__file__).parents[2]


def words_of(svg: str) -> list[str]:
    """The words in a drawing, in their order; figures, bars and titles of neighbours are of a machine and a day."""
    lines = re.findall(r"<text[^>]*>(.*?)</text>", svg)
    shown = " ".join(html.unescape(line).replace("\xa0", " ") for line in lines)
    return re.findall(r"(?<!\w)[a-z][a-z-]+", shown)


@FROM_THE_NIGHT
def test_the_picture_shows_what_the_commands_print(tmp_path: Path) -> None:
    script = run_path(str(ROOT / "benchmarks/draw_demo.py"))
    drawn = script["drawn"](script["printed"](tmp_path))
    assert words_of((ROOT / "docs/demo.svg").read_text(encoding="utf-8")) == words_of(drawn)


def test_the_picture_shows_the_commands_of_the_script_and_asks_nobody_for_a_font() -> None:
    svg = (ROOT / "docs/demo.svg").read_text(encoding="utf-8")
    shown = html.unescape(svg).replace("\xa0", " ")
    commands = run_path(str(ROOT / "benchmarks/draw_demo.py"))["COMMANDS"]
    assert [command for command in commands if command not in shown] == []
    assert not re.search(r"url\(['\"]?http", svg)
