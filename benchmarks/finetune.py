"""What fine-tuning a pretrained text encoder is worth: neighbours' weighted F1 before and after, on the same products.

    (a transformers folder `e5`, such as a download of multilingual-e5-small)
    python benchmarks/finetune.py FILE --base e5 --output tuned --rows 8000 --minutes 20

Whole groups are held out; the encoder learns from --rows other products, among which the neighbours are then sought
too. Prints a Markdown table. Run again after a kill, it resumes.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from rubrika.encode.registry import text_encoder
from rubrika.encode.text import Recipe, TransformerEncoder, TransformerSettings
from rubrika.eval.split import group_split
from rubrika.metrics import metrics_of, paired_difference, weighted_f1_interval
from rubrika.products.product import Selection
from rubrika.products.reader import Reader
from rubrika.progress import Progress
from rubrika.store.base import Hits
from rubrika.terminal import Terminal
from rubrika.train.finetune import finetune_text
from rubrika.train.settings import FinetuneSettings
from rubrika.vote import weighted_vote

NEIGHBOURS = 10
TEMPERATURES = (20.0, 60.0, 180.0)


def nearest(known: np.ndarray, asked: np.ndarray, categories: np.ndarray) -> Hits:
    """The exact neighbours of each asked vector, best first."""
    cosine = asked @ known.T
    place = np.argsort(-cosine, axis=1)[:, :NEIGHBOURS]
    return Hits(place.astype(np.uint64), np.take_along_axis(cosine, place, 1), categories[place])


def chosen_rows(reader: Reader, rows: int, held_out: int, group_by: str) -> tuple[np.ndarray, np.ndarray]:
    """Masks over all products: those to learn from, and those of other groups to measure on."""
    products = [product for batch in reader for product in batch.products]
    ids = np.array([product.id for product in products], np.uint64)
    asked = group_split(ids, [product.group for product in products], held_out / len(ids), 0, group_by).held_out
    known = np.zeros(len(ids), bool)
    known[np.random.default_rng(0).permutation(np.flatnonzero(~asked))[:rows]] = True
    return known, asked


def main() -> None:
    """Encode, fine-tune, encode again, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--group-by", default="group_key")
    parser.add_argument("--base", required=True, help="folder of a transformers encoder")
    parser.add_argument("--output", type=Path, required=True, help="folder for the tuned encoder")
    parser.add_argument("--rows", type=int, default=8_000)
    parser.add_argument("--held-out", type=int, default=2_000)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=FinetuneSettings().rate)
    parser.add_argument("--head-rate", type=float, default=FinetuneSettings().head_rate)
    parser.add_argument("--batch", type=int, default=FinetuneSettings().batch)
    parser.add_argument("--contrast", type=float, default=0.0)
    parser.add_argument("--freeze-layers", type=int)
    parser.add_argument("--half", action="store_true", help="half precision on a CPU that is made for it")
    parser.add_argument("--holdout", type=float, default=0.1, help="of the rows, to choose the best weights on")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--prompt", default="query: ")
    options = parser.parse_args()
    reader = Reader([options.file], labelled=True, group_by=options.group_by)
    known, asked = chosen_rows(reader, options.rows, options.held_out, options.group_by)
    settings = FinetuneSettings(
        epochs=options.epochs,
        minutes=options.minutes,
        batch=options.batch,
        rate=options.rate,
        head_rate=options.head_rate,
        contrast=options.contrast,
        freeze_layers=options.freeze_layers,
        half=options.half or None,
        holdout=options.holdout,
        max_tokens=options.max_tokens,
        pooling="mean",
        prompt=options.prompt,
        checkpoint_minutes=5,
    )
    compare(Selection(reader, known), Selection(reader, asked), options.base, options.output, settings, Terminal())


def compare(
    known: Selection, asked: Selection, base: str, output: Path, settings: FinetuneSettings, progress: Progress
) -> None:
    """Print the table."""
    texts, truths, groups = [], [], []
    for part in (known, asked):
        products = [product for batch in part for product in batch.products]
        texts.append([product.text for product in products])
        truths.append(np.array([product.category.id for product in products if product.category]))
        groups = np.unique([product.group for product in products], return_inverse=True)[1]
    recipe = Recipe(settings.pooling or "mean", settings.max_tokens or 300, settings.prompt or "")
    hits = {}

    def measure(name: str, encoder: TransformerEncoder) -> None:
        started = time.monotonic()
        vectors = [encoder.encode(part) for part in texts]
        hits[name] = nearest(vectors[0], vectors[1], truths[0])
        print(f"{name}: {sum(map(len, texts))} texts encoded in {time.monotonic() - started:.0f} s", flush=True)

    measure("frozen", TransformerEncoder(TransformerSettings(base, recipe)))
    tuned = finetune_text(known, base, output, settings, progress)
    print(
        f"{tuned.steps} steps in {tuned.history[-1].seconds:.0f} s; on {tuned.held_out} of the products given: "
        f"head {tuned.f1:.4f}, neighbours {tuned.neighbours_f1:.4f}"
    )
    measure("fine-tuned", text_encoder(str(output)))
    print(f"\n{len(texts[0])} products known, {len(texts[1])} asked, {NEIGHBOURS} neighbours.\n")
    print("| encoder | temperature | weighted F1 | 95 % interval | macro F1 | accuracy |\n|---|---|---|---|---|---|")
    for name, found in hits.items():
        for temperature in TEMPERATURES:
            winners = weighted_vote(found, temperature).winners
            scores = metrics_of(truths[1], winners)
            low, high = weighted_f1_interval(truths[1], winners, groups)
            print(
                f"| {name} | {temperature:g} | {scores.weighted_f1:.4f} | {low:.4f} … {high:.4f} "
                f"| {scores.macro_f1:.4f} | {scores.accuracy:.4f} |"
            )
    best = [
        max(
            (weighted_vote(found, temperature).winners for temperature in TEMPERATURES),
            key=lambda winners: metrics_of(truths[1], winners).weighted_f1,
        )
        for found in hits.values()
    ]
    low, high = paired_difference(truths[1], best[1], best[0], groups)
    print(f"\nFine-tuned minus frozen, each at its best temperature, 95 %: {low:+.4f} … {high:+.4f}")


if __name__ == "__main__":
    main()
