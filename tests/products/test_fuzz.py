"""Tables of every format, pictures and options, broken by seed: a sentence or rejects, and no good row lost.

A sample of them in `make test`, some 15,600 in `make fuzz`.
"""

import gzip
import io
import json
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from broken_files import CLEAN, DAMAGES, REJECTS, SENTENCE, ReadingProcess
from conftest import Run
from PIL import Image

from rubrika.products.columns import Columns
from rubrika.products.images import PictureError, open_picture
from rubrika.products.reader import Reader

# Of each kind of thing that is broken.
COUNT = int(os.environ.get("RUBRIKA_FUZZ", "400")) // 8
LINES = 40
NOISE = [
    '"',
    ",",
    ";",
    "\t",
    "\n",
    "\r",
    "\0",
    "{",
    "}",
    "[",
    "\\",
    "'",
    "é",
    "\u2028",
    "\ufeff",
    "1e+9",
    " ",
    "null",
    "=1+1",
]


def shop() -> pd.DataFrame:
    """A good table; its titles have what tables quote."""
    titles = [f'кеды «{place}», белые; "лев"' if place % 3 else f"чехол {place}" for place in range(LINES)]
    frame = pd.DataFrame({"product_id": range(100, 100 + LINES), "title": titles})
    return frame.assign(category=["Обувь > Кеды" if place % 2 else "Чехлы" for place in range(LINES)])


def excel(frame: pd.DataFrame) -> bytes:
    stream = io.BytesIO()
    frame.to_excel(stream, index=False)
    return stream.getvalue()


FILES: dict[str, Callable[[pd.DataFrame], bytes]] = {
    "t.csv": lambda frame: frame.to_csv(index=False).encode(),
    "w.csv": lambda frame: frame.to_csv(index=False, sep=";").encode("cp1251"),
    "t.tsv.gz": lambda frame: gzip.compress(frame.to_csv(index=False, sep="\t").encode()),
    "t.jsonl": lambda frame: frame.to_json(orient="records", lines=True, force_ascii=False).encode(),
    "t.json": lambda frame: frame.to_json(orient="records", force_ascii=False).encode(),
    "t.xlsx": excel,
}


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    process = ReadingProcess()
    yield process
    process.close()


@pytest.mark.parametrize("name", FILES)
def test_damaged_bytes_of_any_table_end_in_a_sentence_or_in_rejects(
    name: str, process: ReadingProcess, tmp_path: Path
) -> None:
    whole, damages = FILES[name](shop()), list(DAMAGES.values())
    for seed in range(COUNT):
        rng = np.random.default_rng(seed)
        (tmp_path / name).write_bytes(damages[seed % len(damages)](whole, rng))
        outcome = process.read(tmp_path / name)
        assert outcome.kind in (CLEAN, REJECTS, SENTENCE), f"seed {seed}: {outcome.said}"


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_of_broken_lines_all_others_are_read(name: str, tmp_path: Path) -> None:
    lines = FILES[name](shop()).decode().splitlines()
    header = int(name == "t.csv")
    for seed in range(COUNT):
        rng = np.random.default_rng(seed)
        # Of two broken lines of CSV one may open a quote that the other closes, with good lines between.
        broken = {int(place) for place in rng.integers(header, len(lines), 1 if header else rng.integers(1, 6))}
        changed = [noisy(line, rng) if place in broken else line for place, line in enumerate(lines)]
        (tmp_path / name).write_text("\n".join(changed) + "\n", encoding="utf-8", newline="")
        reader = Reader([tmp_path / name], labelled=True, columns=Columns(separator=" > "))
        found = {product.id for batch in reader for product in batch.products}
        spared = {100 + place - header for place in range(header, len(lines)) if place not in broken}
        assert spared <= found, f"seed {seed}: {sorted(spared - found)} lost of {sorted(broken)}"


def noisy(line: str, rng: np.random.Generator) -> str:
    """A line with something put in, or cut; it stays one line, and opens no quote that another line could close."""
    place = int(rng.integers(len(line) + 1))
    rest = line[place + int(rng.integers(3)) :]
    return line[:place] + (str(rng.choice(NOISE)) + rest if rng.integers(4) else "")


def test_broken_pictures_are_never_more_than_unusable(tmp_path: Path) -> None:
    stream, damages, unusable = io.BytesIO(), list(DAMAGES.values()), 0
    drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8).astype(np.uint8))
    for kind in ("JPEG", "PNG", "WEBP"):
        stream.seek(0)
        stream.truncate()
        drawn.save(stream, kind)
        for seed in range(COUNT):
            data = damages[seed % len(damages)](stream.getvalue(), np.random.default_rng(seed))
            try:
                assert open_picture(data, 224).mode == "RGB"
            except PictureError:
                unusable += 1
    assert unusable


OPTIONS = [
    "--columns",
    "--path-separator",
    "--top-k",
    "--max-error",
    "--level",
    "-o",
    "--details",
    "--index",
    "--images",
]
VALUES = [
    "",
    "-",
    "id=",
    "id=a,id=b",
    "=",
    ">",
    "0",
    "-1",
    "9" * 30,
    "nan",
    "x.doc",
    ".",
    "/dev/null",
    "\0",
    "«",
    "t.csv",
]


def test_options_of_any_kind_end_in_a_sentence(rubrika: Callable[..., Run], index: Path, tmp_path: Path) -> None:
    shop().to_csv(tmp_path / "t.csv", index=False)
    for seed in range(COUNT // 2):
        rng = np.random.default_rng(seed)
        chosen = [(str(rng.choice(OPTIONS)), str(rng.choice(VALUES))) for _ in range(rng.integers(1, 4))]
        words = ["classify", "t.csv", "--index", str(index), *(word for pair in chosen for word in pair)]
        done = rubrika(*words, cwd=tmp_path)
        assert done.code in (0, 1, 2), shlex.join(words)
        assert "Traceback" not in done.err, f"{shlex.join(words)}\n{done.err}"
        assert (tmp_path / "t.csv").read_text(encoding="utf-8") == shop().to_csv(index=False), shlex.join(words)


def test_cells_of_any_kind_cost_their_row_alone(tmp_path: Path) -> None:
    for seed in range(COUNT):
        rng = np.random.default_rng(seed)
        rows = json.loads(shop().to_json(orient="records"))
        odd = [None, True, -1, 1e300, "", "\ud800", [], {}, [[]], {"a": {"b": [1]}}, "x" * 600, "007", 2**70, "1E+5"]
        broken = {int(place): str(rng.choice(list(rows[0]))) for place in rng.integers(0, LINES, 3)}
        for place, name in broken.items():
            rows[place][name] = odd[int(rng.integers(len(odd)))]
        (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        reader = Reader([tmp_path / "t.jsonl"], labelled=True)
        found = [product.row for batch in reader for product in batch.products]
        assert set(range(1, LINES + 1)) - {place + 1 for place in broken} <= set(found), f"seed {seed}"
        assert reader.id_type() is not None
