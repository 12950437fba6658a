"""Runs a rubrika command as ever, noting in a file what it begins and which products it encodes; see killing.py.

python benchmarks/noting.py NOTES BATCH_ROWS ingest FILE ...
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path

from rubrika import cli
from rubrika.display import Terminal
from rubrika.index.encoders import EncodedProducts, Encoders
from rubrika.index.manifest import Manifest
from rubrika.products.product import Product
from rubrika.products.reader import Reader
from rubrika.progress import Advance


def main() -> None:
    """Put notes around the real methods, then be `rubrika`."""
    notes, batch_rows, *arguments = sys.argv[1:]
    descriptor = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(kind: str, what: object) -> None:
        # Past the process at once: a kill right after loses nothing.
        os.write(descriptor, json.dumps({kind: what, "at": time.time()}).encode() + b"\n")

    encode, stage, write = Encoders.encode, Terminal.stage, Manifest.write

    def noted_encode(self: Encoders, products: Sequence[Product], *given: object, **named: object) -> EncodedProducts:
        note("encoded", [product.id for product in products])
        return encode(self, products, *given, **named)  # type: ignore[arg-type]

    @contextmanager
    def noted_stage(self: Terminal, title: str, total: int) -> Iterator[Advance]:
        note("phase", title)
        with stage(self, title, total) as advance:
            yield advance
        note("phase", f"after {title}")

    def noted_write(self: Manifest, folder: Path) -> None:
        done = self.contents.products is not None
        note("phase", "completing the manifest" if done else "marking the manifest")
        write(self, folder)
        note("phase", "done" if done else "after marking the manifest")

    Encoders.encode, Terminal.stage, Manifest.write = noted_encode, noted_stage, noted_write  # type: ignore[method-assign]
    # Small batches, so that a small file has many of them.
    Reader.__init__ = partialmethod(Reader.__init__, batch_rows=int(batch_rows))  # type: ignore[assignment, method-assign]
    sys.argv = ["rubrika", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
