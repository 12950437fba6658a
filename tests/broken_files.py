"""Broken input: parquet files damaged by seed, cells of garbage, and a process that reads them apart from the tests."""

import multiprocessing
import resource
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rows import CASES, SHOES, row

SECONDS = 10
MEMORY = 4 * 2**30
ROWS = 60
GROUP_ROWS = 25
COMPRESSIONS = ("snappy", "zstd", "gzip", "none")
# How a reader can end; anything else is a bug.
CLEAN, REJECTS, SENTENCE = "clean", "rejects", "sentence"
CRASH, HANG, TRACEBACK = "crash", "hang", "traceback"

GOOD_ROWS = [row(1, "кот"), row(2, "пёс"), row(3, "ёж")]
# Cells of text_fields that are no product.
GARBAGE = {
    "a bomb of brackets": '{"title": ' + "[" * 1_000_000,
    "brackets in turn": "{'a': [" * 100_000,
    "a number of a million digits": '{"title": ' + "9" * 1_000_000 + "}",
    "a sum without end": "{'title': 1" + "+1" * 90_000 + "}",
    "a sum hidden in three quotes": "{'title': ''' ' ''' + " + "1+" * 1_000_000 + "''' ' '''}",
    "code": "{'title': __import__('os').getcwd()}",
    "marks that cannot be seen": '{"title": "\u202e\u200b\\u0000\\ud800"}',
    "a title in a title": '{"title": {"title": "кот"}}',
    "a list": "[1, 2, 3]",
    "an open string": "{'title': 'кот",
    "nothing but a name": "nan",
    "zeros": "\0" * 100,
    "a cell of 33 million": '{"title": "' + "я" * 33_000_000 + '"}',
}
# And those that are, for all their weight.
LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
HEAVY: dict[str, dict[str, object]] = {
    "a long title": {"title": "кот " + "cat " * 2_500_000},
    "a long description": {"title": "кот", "description": "red " * 2_500_000},
    "deep tags": {"title": "кот", "description": "<div>" * 100_000 + "рыжий" + "</div>" * 100_000 + "!" * 10**7},
    "tags that never close": {"title": "кот", "description": "<br" * 3_000_000},
    "tags of spaces": {"title": "кот", "description": "<" + " " * 10_000_000},
    "tags wrongly nested": {"title": "кот", "description": "<a><b><font>" * 50_000 + "</a>" * 50_000},
    "tags in attributes": {"title": "кот", "attributes": ["<b>рыжий"] * 30_000},
    "a billion laughs": {"title": "кот &l9;", "description": f"<!DOCTYPE l [<!ENTITY l0 'ха'>{LAUGHS}]><p>&l9;</p>"},
    "strange keys": {"title": "кот", "filters": {"\ud800": "\udfff", "\x1b[2J": ["\u202e", None, {"": []}]}},
}


@dataclass(frozen=True)
class Outcome:
    """How reading a file ended, with the rows that came through and those set aside."""

    kind: str
    said: str = ""
    good: int = 0
    bad: int = 0


def write_rows(path: Path, rows: Sequence[dict[str, object]] = GOOD_ROWS, **columns: pa.Array) -> Path:
    """Rows as a file, some of its columns replaced by others."""
    table = pa.Table.from_pylist(list(rows))
    arrays = {name: table[name] for name in table.schema.names} | columns
    pq.write_table(pa.table(arrays), path)
    return path


def healthy(path: Path, seed: int) -> bytes:
    """A good file of three row groups; the seed chooses its types, compression, encodings, pages and checksums."""
    rng = np.random.default_rng(seed)
    named = [("кроссовки", SHOES), ("чехол", CASES)]
    columns = {"shop_id": 3, "shop_title": "Лапа", "rating": 4.5, "sale": True}
    rows = [row(number, f"{named[number % 2][0]} {number}", named[number % 2][1], **columns) for number in range(ROWS)]
    table = pa.Table.from_pylist(rows)
    if rng.integers(2):
        name = "category_name"
        table = table.set_column(table.schema.names.index(name), name, table[name].dictionary_encode())
    pq.write_table(
        table,
        path,
        row_group_size=GROUP_ROWS,
        compression=COMPRESSIONS[seed % len(COMPRESSIONS)],
        use_dictionary=bool(rng.integers(2)),
        data_page_version=str(rng.choice(["1.0", "2.0"])),
        write_page_checksum=bool(rng.integers(2)),
        store_schema=bool(rng.integers(2)),
        data_page_size=int(rng.choice([100, 1 << 20])),
    )
    return path.read_bytes()


def flip(whole: bytes, rng: np.random.Generator) -> bytes:
    """One to three bytes are something else; every other time in the footer, where all is decided."""
    broken = bytearray(whole)
    footer = min(int.from_bytes(whole[-8:-4], "little") + 8, len(whole))
    start = len(whole) - footer if rng.integers(2) else 0
    for place in rng.integers(start, len(whole), rng.integers(1, 4)):
        broken[place] ^= int(rng.integers(1, 256))
    return bytes(broken)


def cut(whole: bytes, rng: np.random.Generator) -> bytes:
    """The end is missing, and sometimes the footer is put back behind the gap."""
    size = int(rng.integers(len(whole)))
    return whole[:size] + (whole[-int(rng.integers(8, len(whole))) :] if rng.integers(2) else b"")


def splice(whole: bytes, rng: np.random.Generator) -> bytes:
    """A stretch is overwritten by another one, or by zeros."""
    length = int(rng.integers(1, 200))
    to, of = rng.integers(0, len(whole), 2)
    patch = whole[of : of + length] if rng.integers(4) else bytes(length)
    return whole[:to] + patch + whole[to + len(patch) :]


DAMAGES: dict[str, Callable[[bytes, np.random.Generator], bytes]] = {"flip": flip, "cut": cut, "splice": splice}


class ReadingProcess:
    """Reads files in another process, so that a native crash or a hang is an outcome like any other."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._context, self._memory = multiprocessing.get_context("spawn"), memory
        self._start()

    def read(self, file: Path, labelled: bool = True, seconds: float = SECONDS) -> Outcome:
        self._line.send((file, labelled))
        if not self._line.poll(seconds):
            self.close()
            self._start()
            return Outcome(HANG, f"longer than {seconds} s")
        try:
            return self._line.recv()
        except EOFError:
            self._worker.join()
            code = self._worker.exitcode
            self._start()
            return Outcome(CRASH, f"exit code {code}")

    def close(self) -> None:
        self._worker.kill()
        self._worker.join()

    def _start(self) -> None:
        self._line, theirs = self._context.Pipe()
        self._worker = self._context.Process(target=_work, args=(theirs, self._memory), daemon=True)
        self._worker.start()
        theirs.close()


def _work(line: Connection, memory: int) -> None:
    # Whoever asks for more memory than this gets an error rather than the machine.
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    while True:
        try:
            file, labelled = line.recv()
        except EOFError:
            return
        line.send(look(file, labelled))


def look(file: Path, labelled: bool) -> Outcome:
    """Read a file the way commands do."""
    from rubrika.errors import InputError
    from rubrika.products.reader import Reader

    reader = Reader([file], labelled)
    good = bad = 0
    try:
        reader.check()
        reader.id_type()
        assert len(reader) >= 0
        for batch in reader:
            good += len(batch.products)
            bad += len(batch.rejects)
        assert good + bad == len(reader)
    except InputError as error:
        return Outcome(SENTENCE, str(error), good, bad)
    except BaseException:
        return Outcome(TRACEBACK, traceback.format_exc(), good, bad)
    return Outcome(REJECTS if bad else CLEAN, "", good, bad)
