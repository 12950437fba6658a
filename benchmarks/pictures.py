"""How fast pictures are encoded here by EfficientNet-Lite0: opened, scaled and encoded, by torch and by onnxruntime.

    python benchmarks/pictures.py FOLDER --cache CACHE [--pictures 500] [--repeats 3]

The two take turns over the same pictures and the fastest turn of each counts; loading and exporting are not timed.
`OMP_NUM_THREADS` says how many threads compute. Prints a Markdown table.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from rubrika.encode.image import EfficientnetEncoder, encode_pictures

WARM = 16


def main() -> None:
    """Time both ways and compare their vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="where the exported model is kept")
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    paths = sorted(options.folder.iterdir())[: options.pictures]
    ways = {"torch": EfficientnetEncoder(), "onnxruntime": EfficientnetEncoder(options.cache)}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors: dict[str, np.ndarray] = {}
    for encoder in ways.values():
        encode_pictures(encoder, paths[:WARM])
    for _ in range(options.repeats):
        for name, encoder in ways.items():
            started = time.perf_counter()
            vectors[name] = encode_pictures(encoder, paths).vectors
            seconds[name].append(time.perf_counter() - started)
    print(f"{len(paths)} pictures, {torch.get_num_threads()} threads\n")
    print("| way | pictures a second | times as fast | cosine to torch: min |\n|---|---|---|---|")
    for name, found in vectors.items():
        best, cosine = min(seconds[name]), (found * vectors["torch"]).sum(1)
        times = min(seconds["torch"]) / best
        print(f"| {name} | {len(paths) / best:.1f} | {times:.2f} | {cosine.min():.6f} |")


if __name__ == "__main__":
    main()
