"""How fast a pretrained BERT encodes here, beside the plain loop that it replaces, on the same rows in the same run.

    python benchmarks/encoding.py FILE [FILE ...] --base e5 --cache FOLDER [--rows 512] [--prompt "query: "]

The plain loop takes rows as they come, 32 at a time, each batch padded to 300 tokens, in torch and full precision.
Then the same encoder through Rubrika: batches of like length, in torch, then as int8 by onnxruntime. Every way is
timed --repeats times in turn and the fastest counts; loading and exporting are not timed. Prints a Markdown table for
each file.
"""

import argparse
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from rubrika.encode.base import unit_vectors
from rubrika.encode.text import Recipe, TransformerEncoder
from rubrika.products.reader import Reader

Encode = Callable[[list[str]], np.ndarray]

BATCH, PADDED = 32, 300


def plain_loop(folder: str, prompt: str) -> Encode:
    """Batches of 32 padded to 300 tokens, mean of the tokens."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def encode(texts: list[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(texts), BATCH):
            prompted = [prompt + text for text in texts[start : start + BATCH]]
            given = tokenizer(prompted, truncation=True, max_length=PADDED, padding="max_length", return_tensors="pt")
            with torch.no_grad():
                tokens = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).last_hidden_state
            mask = given["attention_mask"].unsqueeze(-1)
            parts.append(((tokens * mask).sum(1) / mask.sum(1)).numpy())
        return unit_vectors(np.concatenate(parts))

    return encode


def texts_of(file: Path, rows: int) -> list[str]:
    """The first rows' texts."""
    products = (product for batch in Reader([file], labelled=True) for product in batch.products)
    return [product.text for product in islice(products, rows)]


def main() -> None:
    """Time the three ways and compare their vectors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--base", required=True, help="folder of a transformers encoder")
    parser.add_argument("--cache", type=Path, required=True, help="where the exported model is kept")
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--prompt", default="query: ")
    options = parser.parse_args()
    recipe = Recipe("mean", PADDED, options.prompt)
    pipeline = TransformerEncoder(options.base, recipe)
    int8 = TransformerEncoder(options.base, recipe, backend="onnx-int8", cache=options.cache)
    ways: dict[str, Encode] = {
        "plain loop, padded to 300, torch fp32": plain_loop(options.base, options.prompt),
        "Rubrika, torch fp32": pipeline.encode,
        "Rubrika, onnx-int8": int8.encode,
    }
    for file in options.files:
        texts = texts_of(file, options.rows)
        lengths = [len(pipeline._tokenizer(options.prompt + text)["input_ids"]) for text in texts]
        print(
            f"\n{file.parent.name}: {len(texts)} rows, tokens: median {np.median(lengths):.0f}, "
            f"90 % {np.percentile(lengths, 90):.0f}, cut at {PADDED}; {torch.get_num_threads()} threads\n"
        )
        compare(ways, texts, options.repeats)


def compare(ways: dict[str, Encode], texts: list[str], repeats: int) -> None:
    """Print a table; the first way is what the others are compared with."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors = {}
    for encode in ways.values():
        encode(texts[:BATCH])
    for _ in range(repeats):
        for name, encode in ways.items():
            started = time.perf_counter()
            vectors[name] = encode(texts)
            seconds[name].append(time.perf_counter() - started)
    first, slowest = next(iter(ways)), min(next(iter(seconds.values())))
    print("| way | rows a second | times as fast | cosine to the first: min | mean |\n|---|---|---|---|---|")
    for name, found in vectors.items():
        cosine = (found * vectors[first]).sum(1)
        best = min(seconds[name])
        print(
            f"| {name} | {len(texts) / best:.1f} | {slowest / best:.2f} | {cosine.min():.4f} | {cosine.mean():.4f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
