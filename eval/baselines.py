"""Other classifiers to compare Rubrika with, as scikit-learn estimators: of texts, or of named vectors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import NamedTemporaryFile
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import FeatureUnion
from sklearn.svm import LinearSVC

from rubrika.errors import RubrikaError
from rubrika.eval.metrics import metrics_of
from rubrika.products.split import IntArray
from rubrika.progress import Advance
from rubrika.retrieve.exact import best_hits, best_positions
from rubrika.retrieve.search import search
from rubrika.store.base import FloatArray, Store
from rubrika.vote import NO_CATEGORY, Votes, fused_vote, weighted_vote

Inputs = Any  # texts (n), or vectors (n, size) by name, where a row of zeros is a product that lacks this vector
Examples = tuple[Mapping[str, FloatArray], IntArray]  # vectors (n, size) by name, and categories (n,)
KEPT = 10  # of the categories that a classifier scores, so many are kept a product
CHUNK = 2_048
# Neighbours have a row of scores for every known product: so few rows at once that they stay small.
NEIGHBOUR_CHUNK = 256
# A feature of one text alone says nothing about others; but of fewer texts than this, all features are kept.
MANY_TEXTS = 1_000
SVM_COST, SVM_TOLERANCE = 0.5, 1.0
SVM_TEMPERATURE = 5.0  # the softmax over an SVM's scores, in which 1 is the margin that it aims at
BYTES_PER_WEIGHT = 16  # LIBLINEAR's own weights and scikit-learn's copy of them, both in double precision
MAX_GB = 16.0
LABEL = "__label__"
# Words, pairs and sub-words; on several threads no two runs are alike.
FASTTEXT = {"lr": 0.5, "wordNgrams": 2, "minn": 3, "maxn": 5, "dim": 100, "loss": "softmax", "thread": 1, "verbose": 0}
RATE, DROPOUT = 0.001, 0.3
PATIENCE = 3  # early stopping after so many epochs without a better F1
ENSEMBLE_ROUNDS = 20


class Baseline(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that names the likeliest few of thousands of categories; the same products give the same result."""

    classes_: IntArray

    def fit(self, inputs: Inputs, labels: IntArray) -> Self:
        """Learn from products and their categories (n,), if need be; RubrikaError where that cannot be done."""
        return self

    def votes(self, inputs: Inputs) -> Votes:
        """The likeliest categories of each product, best first, with their shares."""
        raise NotImplementedError

    def predict(self, inputs: Inputs) -> IntArray:
        """The likeliest category of each product, (n,)."""
        return self.votes(inputs).winners


class StoredNeighbours(Baseline):
    """The vote of the nearest stored products, not learned, by one or more named vectors; temperature 0: the mode."""

    def __init__(self, store: Store, top_k: int, temperature: float) -> None:
        self.store, self.top_k, self.temperature = store, top_k, temperature

    def votes(self, inputs: Mapping[str, FloatArray]) -> Votes:
        """As in Baseline."""
        hits = [search(self.store, name, rows, self.top_k) for name, rows in inputs.items()]
        votes = [weighted_vote(each, self.temperature) for each in hits]
        return votes[0] if len(votes) == 1 else fused_vote([(each, 1.0) for each in votes])


class NearestNeighbours(Baseline):
    """The weighted vote of the nearest products by exact cosine: of one named vector, or of texts by TF-IDF."""

    def __init__(self, top_k: int = 5, temperature: float = 20.0) -> None:
        self.top_k, self.temperature = top_k, temperature

    def fit(self, inputs: Inputs, labels: IntArray) -> Self:
        """As in Baseline; a product without the vector is nobody's neighbour."""
        self.features_: FeatureUnion | None = None
        if isinstance(inputs, Mapping):
            (rows,) = inputs.values()
        else:
            self.features_, rows = learn_tfidf(inputs)
        present = _present(rows)
        known = rows[present].T
        self.known_ = known.tocsr() if issparse(known) else known
        self.labels_, self.classes_ = labels[present], np.unique(labels)
        return self

    def votes(self, inputs: Inputs) -> Votes:
        """As in Baseline; a product without the vector finds nothing."""
        rows, parts = self.features_.transform(inputs) if self.features_ else next(iter(inputs.values())), []
        for start in range(0, rows.shape[0], NEIGHBOUR_CHUNK):
            chunk = rows[start : start + NEIGHBOUR_CHUNK]
            scores = chunk @ self.known_
            scores = scores.toarray() if issparse(scores) else scores
            scores[~_present(chunk)] = -np.inf
            parts.append(weighted_vote(best_hits(scores, self.labels_, self.top_k), self.temperature))
        return joined(parts)


class LinearSvm(Baseline):
    """A linear SVM on TF-IDF of words, word pairs and character 3–5-grams.

    It is LIBLINEAR's multi-class SVM (Crammer and Singer 2001, solved as in Keerthi et al. 2008): one problem for all
    categories. On 16,043 products of 764 categories it takes 14 seconds of processor time and has a weighted F1 of
    0.860 (a tolerance of 0.1 instead of 1: 28, for 0.858); the usual one against the rest for each takes 84, for 0.850.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, inputs: Sequence[str], labels: IntArray) -> Self:
        """As in Baseline; refused when it would take too much memory."""
        self.features_, rows = learn_tfidf(inputs)
        self.classes_ = np.unique(labels)
        size = rows.shape[1] * len(self.classes_) * BYTES_PER_WEIGHT / 1e9
        if size > MAX_GB:
            raise RubrikaError(f"a linear SVM would take {size:.0f} GB of memory; compare on fewer products")
        if len(self.classes_) < 2:
            raise RubrikaError("a linear SVM tells categories apart, and there is only one; add products of others")
        svm = LinearSVC(C=SVM_COST, tol=SVM_TOLERANCE, multi_class="crammer_singer", random_state=self.seed)
        svm.fit(rows, labels)
        self.weights_, self.bias_ = svm.coef_.astype(np.float32), svm.intercept_.astype(np.float32)
        if len(self.classes_) == 2:
            # Of two categories scikit-learn keeps what the second has more than the first.
            self.weights_, self.bias_ = (np.concatenate([0 * part, part]) for part in (self.weights_, self.bias_))
        return self

    def votes(self, inputs: Sequence[str]) -> Votes:
        """As in Baseline."""
        rows = self.features_.transform(inputs)
        chunks = (rows[start : start + CHUNK] for start in range(0, len(inputs), CHUNK))
        scores = (chunk @ self.weights_.T + self.bias_ for chunk in chunks)
        return joined([best_of(self.classes_, SVM_TEMPERATURE * each) for each in scores])


class FastText(Baseline):
    """fastText's supervised classifier (Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification").

    On few products it needs many epochs: on 2,430 of the sample, 15 give a weighted F1 of 0.140, 60 of 0.815, 100 of
    0.862, 150 of 0.855.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, inputs: Sequence[str], labels: IntArray) -> Self:
        """As in Baseline."""
        try:
            import fasttext
        except ImportError:
            raise RubrikaError("fastText is not installed; install `rubrika[benchmarks]`") from None
        self.classes_ = np.unique(labels)
        with NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.writelines(f"{LABEL}{own} {_line(text)}" for own, text in zip(labels.tolist(), inputs, strict=True))
            file.flush()
            epochs = fasttext_epochs(len(inputs))
            self.model_ = fasttext.train_supervised(file.name, epoch=epochs, seed=self.seed, **FASTTEXT)
        return self

    def votes(self, inputs: Sequence[str]) -> Votes:
        """As in Baseline."""
        votes = Votes(np.full((len(inputs), KEPT), NO_CATEGORY), np.zeros((len(inputs), KEPT), np.float32))
        for row, text in enumerate(inputs):
            # The wrapper's own predict does not work with numpy 2; the engine under it does.
            for place, (share, label) in enumerate(self.model_.f.predict(_line(text), KEPT, 0.0, "strict")):
                votes.categories[row, place], votes.shares[row, place] = int(label.removeprefix(LABEL)), share
        return votes


def fasttext_epochs(count: int) -> int:
    """How often fastText sees every one of `count` products: few need enough steps too."""
    return int(np.clip(round(300_000 / max(count, 1)), 15, 100))


@dataclass(frozen=True, slots=True)
class Epoch:
    """After a pass over all products: the mean loss, and weighted F1 on the validation split."""

    loss: float
    weighted_f1: float


class Network(Baseline):
    """A softmax classifier on vectors side by side, learned with AdamW: an MLP `hidden` wide; 0: a linear head."""

    def __init__(self, hidden: int = 0, seed: int = 0, epochs: int = 20) -> None:
        self.hidden, self.seed, self.epochs = hidden, seed, epochs

    def fit(self, inputs: Mapping[str, FloatArray], labels: IntArray, advance: Advance | None = None) -> Self:
        """As in Baseline; `advance` is called with the number of products of each step."""
        for _ in self._epochs(inputs, labels, advance):
            pass
        return self

    def choose_epochs(
        self, train: Examples, held: Examples, advance: Advance | None = None
    ) -> tuple[tuple[Epoch, ...], Votes]:
        """Set `epochs`, so far a maximum, by early stopping; gives the curve, and the votes after the best epoch."""
        curve, best = list[Epoch](), 0
        for loss in self._epochs(*train, advance):
            votes = self.votes(held[0])
            curve.append(Epoch(loss, metrics_of(held[1], votes.winners).weighted_f1))
            if len(curve) == 1 or curve[-1].weighted_f1 > curve[best].weighted_f1:
                best, best_votes = len(curve) - 1, votes
            if len(curve) - 1 - best >= PATIENCE:
                break
        self.epochs = best + 1
        return tuple(curve), best_votes

    def votes(self, inputs: Mapping[str, FloatArray]) -> Votes:
        """As in Baseline."""
        import torch

        self.module_.eval()
        with torch.inference_mode():
            chunks = torch.split(torch.from_numpy(_side_by_side(inputs)), CHUNK)
            return joined([best_of(self.classes_, self.module_(chunk).numpy()) for chunk in chunks])

    def _epochs(self, inputs: Mapping[str, FloatArray], labels: IntArray, advance: Advance | None) -> Iterator[float]:
        """Learn, pausing after each epoch with its mean loss."""
        import torch
        from torch import nn

        self.classes_, code = np.unique(labels, return_inverse=True)
        rows, targets = torch.from_numpy(_side_by_side(inputs)), torch.from_numpy(code)
        width, classes, count = rows.shape[1], len(self.classes_), len(labels)
        random = np.random.default_rng(self.seed)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            inner = (nn.Linear(width, self.hidden), nn.ReLU(), nn.Dropout(DROPOUT)) if self.hidden else ()
            self.module_ = nn.Sequential(*inner, nn.Linear(self.hidden or width, classes))
        optimiser = torch.optim.AdamW(self.module_.parameters(), RATE)
        batch = int(np.clip(2 ** round(np.log2(count / 100)), 16, 256))  # about a hundredth of the products in a step
        for epoch in range(self.epochs):
            self.module_.train()
            losses = 0.0
            # A seed for each epoch: whoever asks for the next one may have drawn numbers meanwhile.
            with torch.random.fork_rng():
                torch.manual_seed(self.seed + epoch)
                for chosen in np.array_split(random.permutation(count), -(-count // batch)):
                    loss = nn.functional.cross_entropy(self.module_(rows[chosen]), targets[chosen])
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimiser.step()
                    losses += loss.item() * len(chosen)
                    if advance:
                        advance(len(chosen))
            yield losses / count


def ensemble_weights(votes: Mapping[str, Votes], truth: IntArray) -> dict[str, float]:
    """How much each method should count in a sum of their votes, all together 1, those that do not help left out.

    Chosen by weighted F1 on n products that none learned from, by greedy selection with repeats (Caruana et al. 2004,
    "Ensemble Selection from Libraries of Models"): in each round the method is added that helps the sum most. The
    shortest choice wins among equals, and the first method.
    """
    # Thousands of categories fit into a few columns: those that a method names for a product, ascending in each row.
    known = np.sort(np.concatenate([each.categories for each in votes.values()], axis=1), axis=1)
    shares = [np.zeros(known.shape, np.float32) for _ in votes]
    for table, each in zip(shares, votes.values(), strict=True):
        column = (known[:, None] < each.categories[:, :, None]).sum(axis=2)
        np.put_along_axis(table, column, each.shares, axis=1)

    def f1(total: FloatArray) -> float:
        winners = np.take_along_axis(known, total.argmax(axis=1)[:, None], axis=1)[:, 0]
        return metrics_of(truth, winners).weighted_f1

    total, counts, chosen, chosen_f1 = np.zeros(known.shape, np.float32), [0] * len(votes), [1], -1.0
    for _ in range(ENSEMBLE_ROUNDS):
        scores = [f1(total + each) for each in shares]
        added = int(np.argmax(scores))
        total += shares[added]
        counts[added] += 1
        if scores[added] > chosen_f1:
            chosen, chosen_f1 = counts.copy(), scores[added]
    return {name: count / sum(chosen) for name, count in zip(votes, chosen, strict=True) if count}


def learn_tfidf(texts: Sequence[str]) -> tuple[FeatureUnion, Any]:
    """TF-IDF of character 3–5-grams, of words and of their pairs, and these texts' rows (csr, float32)."""
    common: dict[str, Any] = {"min_df": 2 if len(texts) >= MANY_TEXTS else 1, "sublinear_tf": True, "dtype": np.float32}
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common)
    features = FeatureUnion([("characters", characters), ("words", TfidfVectorizer(ngram_range=(1, 2), **common))])
    try:
        return features, features.fit_transform(texts)
    except ValueError as error:
        raise RubrikaError(f"the texts have too few words for TF-IDF ({error})") from None


def best_of(categories: IntArray, scores: NDArray[np.floating]) -> Votes:
    """The best of ascending categories (c,) for each product by scores (n, c); shares are a softmax, ties by id."""
    place = best_positions(scores, min(KEPT, len(categories)))
    found = np.take_along_axis(scores, place, axis=1)
    shares = np.exp(found - found[:, :1])
    return Votes(categories[place], (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32))


def joined(parts: Sequence[Votes]) -> Votes:
    """The votes for several batches of products, all equally wide, as one."""
    return Votes(*(np.concatenate([getattr(votes, name) for votes in parts]) for name in ("categories", "shares")))


def _side_by_side(vectors: Mapping[str, FloatArray]) -> FloatArray:
    """Vectors side by side, each scaled so that its numbers are around 1."""
    scaled = np.concatenate([rows * rows.shape[1] ** 0.5 for rows in vectors.values()], axis=1)
    return scaled.astype(np.float32, copy=False)


def _present(rows: Any) -> NDArray[np.bool_]:  # noqa: ANN401 - an array or a csr matrix
    """Which rows are not all zeros, (n,)."""
    return np.asarray((rows != 0).sum(axis=1)).ravel() > 0


def _line(text: str) -> str:
    # A word that begins like a label would be one.
    return text.lower().replace("\n", " ").replace(LABEL, " ") + "\n"
