"""fastText's supervised classifier (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification")."""

from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from rubrika.baselines.baseline import KEPT, Part, need
from rubrika.progress import Progress
from rubrika.vote import NO_CATEGORY, Votes

LABEL = "__label__"


@dataclass(frozen=True, slots=True)
class FastText:
    """Words, pairs and sub-words, on one thread: on several, no two runs are alike.

    On few products it needs many epochs. On the 2,430 that `rubrika evaluate market/train.parquet --group-by group_key`
    learns from (of `rubrika sample market`), 15 give a weighted F1 of 0.140, 60 of 0.815, 100 of 0.862, 150 of 0.855.

    Args:
        epochs: how often every product is seen; None: the fewer products, the more often (15 to 100 times).
        rate: of learning.
        seed: of the starting vectors.
    """

    epochs: int | None = None
    rate: float = 0.5
    seed: int = 0
    name: str = "fastText"
    vectors: tuple[str, ...] = ()

    def pace(self, count: int) -> int:
        """Epochs for `count` products: few need enough steps too."""
        return self.epochs or int(np.clip(round(300_000 / max(count, 1)), 15, 100))

    def fit(self, part: Part, progress: Progress) -> "_Model":
        """As in Baseline."""
        need("fasttext", "fastText")
        import fasttext

        settings = {"wordNgrams": 2, "minn": 3, "maxn": 5, "dim": 100, "loss": "softmax", "thread": 1, "verbose": 0}
        with NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.writelines(
                f"{LABEL}{label} {_line(text)}" for label, text in zip(part.labels.tolist(), part.texts, strict=True)
            )
            file.flush()
            epochs = self.pace(len(part))
            return _Model(fasttext.train_supervised(file.name, epoch=epochs, lr=self.rate, seed=self.seed, **settings))


@dataclass(frozen=True, slots=True)
class _Model:
    model: Any

    def predict(self, part: Part) -> Votes:
        """As in Fitted."""
        votes = Votes(np.full((len(part), KEPT), NO_CATEGORY), np.zeros((len(part), KEPT), np.float32))
        for row, text in enumerate(part.texts):
            # The wrapper's own predict does not work with numpy 2; the engine under it does.
            for place, (share, label) in enumerate(self.model.f.predict(_line(text), KEPT, 0.0, "strict")):
                votes.categories[row, place], votes.shares[row, place] = int(label.removeprefix(LABEL)), share
        return votes


def _line(text: str) -> str:
    # A word that begins like a label would be one.
    return text.lower().replace("\n", " ").replace(LABEL, " ") + "\n"
