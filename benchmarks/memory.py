"""Computes the memory that a million products need on a Qdrant server, for docs/scaling.md.

Run `python benchmarks/memory.py`, or with `--products`, `--links` (m of the graph, 0 for none) and `--payload` bytes.
"""

import argparse
from dataclasses import dataclass

GIB = 2**30
# What a number of a vector takes in memory, and what a vector takes besides: an 8-bit one its offset, TurboQuant two
# factors. «+ disk»: the full vectors are on disk and read to rescore only (`ServerOptions.on_disk`).
KINDS = {
    "float32": (4.0, 0.0),
    "float16": (2.0, 0.0),
    "int8 + float32": (5.0, 4.0),
    "int8 + disk": (1.0, 4.0),
    "turbo + disk": (0.5, 8.0),
}
# A point has 2 m links of four bytes on the graph's lowest layer, and m on each layer above that it is on, which 1 of m
# points is, then 1 of m squared, and so on; the start of its list is another four.
BYTES_A_LINK = 4.0
# Id to place, place to id and version; and the four payload indexes, both ways.
BYTES_A_POINT = 24.0
BYTES_A_POINT_INDEXED = 64.0
# Rebuilding a segment keeps the old one until the new one is done; Qdrant's own advice is half as much again.
HEADROOM = 1.5
WIDTHS = {128: "learned", 256: "learned, wide", 384: "e5-small", 512: "CLIP", 768: "BERT, ViT", 1280: "EfficientNet"}


@dataclass(frozen=True)
class Load:
    """What a server holds.

    Args:
        products: how many.
        links: m of the HNSW graph, 0 for none.
        payload: bytes of payload a product that are kept in memory.
    """

    products: int = 1_000_000
    links: int = 0
    payload: int = 0

    def gigabytes(self, width: int, kind: str) -> float:
        """The memory for one vector of `width` numbers a product, in GiB."""
        a_number, besides = KINDS[kind]
        vector = width * a_number + besides
        bookkeeping = BYTES_A_POINT + BYTES_A_POINT_INDEXED + self.payload
        return self.products * (vector + self.graph() + bookkeeping) * HEADROOM / GIB

    def graph(self) -> float:
        """The bytes of a point's links, on all layers."""
        if not self.links:
            return 0.0
        layers_above = 1 / (self.links - 1)
        return (2 * self.links + layers_above * self.links + 1) * BYTES_A_LINK


def table(load: Load) -> str:
    """The table in Markdown."""
    lines = [
        f"| numbers a vector | {' | '.join(KINDS)} |",
        f"|---|{'---:|' * len(KINDS)}",
    ]
    for width, name in WIDTHS.items():
        cells = (f"{load.gigabytes(width, kind):.1f}" for kind in KINDS)
        lines.append(f"| {width} ({name}) | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--products", type=int, default=Load.products)
    parser.add_argument("--links", type=int, default=Load.links, help="m of the HNSW graph, 0 for none")
    parser.add_argument("--payload", type=int, default=Load.payload, help="bytes of payload a product kept in memory")
    given = parser.parse_args()
    print(table(Load(given.products, given.links, given.payload)))


if __name__ == "__main__":
    main()
