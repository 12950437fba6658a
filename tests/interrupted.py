"""`python interrupted.py WHEN WHAT ARGUMENT...` is `rubrika ARGUMENT...`, but something happens in the middle of it.

WHEN is what a phase is called, such as `learning`, or `batch`, when one is written. WHAT is a signal; or `wait`, which
says so on stdout and goes on after a line on stdin; or `crowded`: a disk that others fill after its room was looked at.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rubrika import cli, files
from rubrika.ingest.write import Writer
from rubrika.products.product import Batch
from rubrika.progress import Advance
from rubrika.display import Terminal

when, what = sys.argv.pop(1), sys.argv.pop(1)


def interrupt() -> None:
    if what == "wait":
        sys.stdout.write("waiting\n")
        sys.stdout.flush()
        sys.stdin.readline()
    else:
        signal.raise_signal(signal.Signals[what])


write, stage = Writer.write, Terminal.stage


def interrupted_write(self: Writer, batch: Batch) -> None:
    write(self, batch)
    if when == "batch":
        interrupt()


@contextmanager
def interrupted_stage(self: Terminal, title: str, total: int) -> Iterator[Advance]:
    with stage(self, title, total) as advance:
        if title.startswith(when):
            interrupt()
        yield advance


# A shell that starts this in the background has it ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
if what == "crowded":
    files.ROOM = 0
else:
    Writer.write, Terminal.stage = interrupted_write, interrupted_stage
cli.main()
