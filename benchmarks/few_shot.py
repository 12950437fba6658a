"""SetFit beside Rubrika on few products, from the same pretrained model, on the same held-out products.

    pip install setfit
    python benchmarks/few_shot.py FILE --model FOLDER [--holdout 0.3] [--pairs 5] [--tokens 128]

The split is that of `rubrika evaluate FILE --stratify`. SetFit tunes the model on pairs of texts, so many a product,
one epoch, and learns a logistic head, its default; texts are cut after so many tokens, as longer ones take it hours.
Rubrika learns its own encoder, which needs no model; and once more its products have the model's vectors as they are.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from rubrika.api import Index
from rubrika.eval.metrics import metrics_of
from rubrika.products.reader import Reader
from rubrika.products.split import stratified_split


def with_setfit(texts: list[str], labels: list[int], asked: list[str], given: argparse.Namespace) -> np.ndarray:
    """What SetFit predicts."""
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(given.model)
    model.model_body.max_seq_length = given.tokens
    ways = TrainingArguments(num_epochs=1, num_iterations=given.pairs, batch_size=16, report_to="none")
    Trainer(model=model, args=ways, train_dataset=Dataset.from_dict({"text": texts, "label": labels})).train()
    return np.asarray(model.predict(asked))


def with_rubrika(train: pd.DataFrame, test: pd.DataFrame, encoder: str | None) -> np.ndarray:
    """What an index predicts."""
    with TemporaryDirectory() as folder, Index.open(Path(folder) / "index", cache=folder) as index:
        index.ingest(train, text_encoder=encoder)
        return index.classify(test).to_frame()["predicted_category_id"].to_numpy()


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--holdout", type=float, default=0.3)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    given = parser.parse_args()
    products = [product for batch in Reader([given.file], labelled=True) for product in batch.products]
    ids = np.array([product.id for product in products], np.uint64)
    labels = np.array([product.category.id for product in products if product.category], np.int64)
    asked = stratified_split(ids, labels, given.holdout, 0).held_out
    table, texts = pd.read_parquet(given.file), np.array([product.text for product in products], object)
    train, test = table[~asked], table[asked]
    ways: dict[str, Callable[[], np.ndarray]] = {
        "Rubrika": lambda: with_rubrika(train, test, None),
        "Rubrika, the model's vectors": lambda: with_rubrika(train, test, given.model),
        "SetFit": lambda: with_setfit(texts[~asked].tolist(), labels[~asked].tolist(), texts[asked].tolist(), given),
    }
    print("| method | weighted F1 | macro F1 | s |\n|---|---|---|---|")
    for name, predicted in ways.items():
        started = time.monotonic()
        metrics = metrics_of(labels[asked], predicted())
        print(
            f"| {name} | {metrics.weighted_f1:.4f} | {metrics.macro_f1:.4f} | {time.monotonic() - started:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
