"""Retrieval and its vote as a scikit-learn classifier of texts."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from rubrika.encode.learned import LearnedEncoder
from rubrika.index.categories import read_labels
from rubrika.index.encoders import Encoders
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.index.manifest import TEXT, VoteSettings
from rubrika.ingest.ingest import ingest
from rubrika.products.identity import path_label
from rubrika.products.product import Category, Kept, Product
from rubrika.products.row import plain_cell
from rubrika.progress import Silent
from rubrika.retrieve.exact import exact_hits
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import vote_over, with_unseen_reach

# Beyond this the nearest neighbour alone decides, and float32 is still far from its limits.
MAX_TEMPERATURE = 1e6


class RetrievalClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns an encoder from labelled texts, and predicts the label of a text from the most similar ones.

    It decides as an index of the same texts does, but keeps their vectors as arrays and searches them exactly. It knows
    no ids: a text that it was fitted on votes for itself. Texts may also be the rows of a DataFrame: the first column
    is the title, the others say more, and empty cells nothing. Every wrong argument is a ValueError.

    Args:
        top_k: how many neighbours vote.
        temperature: how much more near ones count than far ones, 0 … 1,000,000.
        size: the width of a vector.
        epochs: how often every text is seen in learning; None: the fewer texts, the more often (4 to 20 times).
        random_state: of learning; with a number, the same texts give the same classifier.

    What it learned has names that end in `_`.
    """

    classes_: NDArray[Any]  # the labels, sorted
    encoder_: LearnedEncoder  # makes vectors of texts
    vectors_: FloatArray  # of all texts so far, (n, size)
    labels_: NDArray[np.int64]  # the positions of their labels in `classes_`, (n,)
    texts_: list[str] | None  # all texts so far; None when it came from an index, which does not keep them
    seen_: NDArray[np.int64]  # the positions of those that the encoder learned from; the others get a bonus in the vote

    def __init__(
        self,
        top_k: int = 10,
        temperature: float = 60.0,
        size: int = 128,
        epochs: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.top_k, self.temperature, self.size = top_k, temperature, size
        self.epochs, self.random_state = epochs, random_state

    def fit(self, X: Iterable[str], y: ArrayLike) -> Self:  # noqa: N803 - as scikit-learn calls it
        """Learn from n texts and their labels, all texts or all numbers, and forget what was learned before."""
        self._check()
        return self._learn(*_labelled(X, y))

    def partial_fit(self, X: Iterable[str], y: ArrayLike, classes: ArrayLike | None = None) -> Self:  # noqa: N803
        """Add labelled texts, which count at once; only the first call learns, as `fit` does.

        `classes` are labels that may come besides the known ones; at the first call, by default those in `y`.
        """
        self._check()
        texts, labels = _labelled(X, y)
        fitted = hasattr(self, "classes_")
        allowed = self.classes_ if fitted else np.unique(labels)
        _check_kinds(allowed, labels)
        if classes is not None:
            named = np.unique(_labels(classes))
            _check_kinds(allowed, named)
            allowed = np.union1d(allowed, named) if fitted else named
        for unknown in np.setdiff1d(labels, allowed)[:1].tolist():
            raise ValueError(f"the class {unknown!r} is not known yet; name it in `classes`")
        if fitted:
            self._widen(allowed)
            self.vectors_ = np.concatenate([self.vectors_, self.encoder_.encode(texts)])
            self.labels_ = np.concatenate([self.labels_, np.searchsorted(self.classes_, labels)])
            self.texts_ = None if self.texts_ is None else [*self.texts_, *texts]
        else:
            self._learn(texts, labels)
            self._widen(allowed)
        return self

    def predict(self, X: Iterable[str]) -> NDArray[Any]:  # noqa: N803
        """The most likely label of each of n texts, (n,)."""
        shares = self.predict_proba(X)
        return np.asarray(self.classes_[shares.argmax(axis=1)])

    def predict_proba(self, X: Iterable[str]) -> NDArray[np.float64]:  # noqa: N803
        """Each class's share of the vote, (n, classes): no calibrated probability, see `CalibratedClassifierCV`."""
        check_is_fitted(self)
        texts = _texts(X)
        self._check()
        vote = VoteSettings({TEXT: 1.0}, self.top_k, self.temperature)
        hits = {TEXT: self._search(self.encoder_.encode(texts), self.top_k)}
        votes = vote_over(with_unseen_reach(hits, vote, {TEXT: self.seen_}), vote)
        shares = np.zeros((len(texts), len(self.classes_)))
        row, column = np.nonzero(votes.shares > 0)
        shares[row, votes.categories[row, column]] = votes.shares[row, column]
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def kneighbors(
        self,
        X: Iterable[str] | None = None,  # noqa: N803
        n_neighbors: int | None = None,
        return_distance: bool = True,
    ) -> NDArray[np.int64] | tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Distances (1 - cosine), if wanted, and positions of the known texts most similar to each of n, nearest first.

        Without `X` all known texts are asked about, none being its own neighbour; `n_neighbors` is by default `top_k`.
        """
        check_is_fitted(self)
        self._check()
        count = self.top_k if n_neighbors is None else _whole("n_neighbors", n_neighbors)
        if X is None:
            own = np.arange(len(self.vectors_), dtype=np.uint64)
            count = min(count, len(own) - 1)
            hits = self._search(self.vectors_, count + 1).without(own).first(count)
        else:
            hits = self._search(self.encoder_.encode(_texts(X)), count)
        positions = hits.ids.astype(np.int64)
        # A float32 cosine may exceed 1 by its last digit.
        return (np.maximum(1 - hits.scores, 0), positions) if return_distance else positions

    def to_index(self, folder: str | Path) -> None:
        """Make an index of all texts so far, with this encoder and vote, calibrated; their ids are their positions."""
        check_is_fitted(self)
        if self.texts_ is None:
            raise ValueError("this classifier came from an index, which has its texts; copy that folder")
        labels = [path_label(str(label)) for label in self.classes_.tolist()]
        products = _products(self.texts_, [labels[code] for code in self.labels_.tolist()])
        ids = np.array([label.id for label in labels], np.int64)
        config = replace(self.encoder_.config, categories=tuple(np.sort(ids[self.seen_]).tolist()))
        encoders = Encoders(self.encoder_.with_config(config))
        at = Location(Path(folder))
        ingest(at, products, prepared=encoders)
        with Index.open(at) as index:
            vote = replace(index.manifest.vote, top_k=self.top_k, temperature=float(self.temperature))
            replace(index.manifest, vote=vote).write(at.folder)

    @classmethod
    def from_index(cls, folder: str | Path) -> Self:
        """The classifier of an index whose text vectors are learned: the same vectors, labels and vote."""
        with Index.open(Location(Path(folder))) as index:
            encoder, vote, labels = index.encoders.text, index.manifest.vote, read_labels(index.folder)
            if not isinstance(encoder, LearnedEncoder):
                raise ValueError(f"{folder}: its text vectors are not learned from labels, so there is no classifier")
            points = [point for page in index.store.scroll(payload=["category_id"], vectors=True) for point in page]
            seen = index.seen[TEXT]
        classifier = cls(vote.top_k, vote.temperature, encoder.config.size)
        numbers = np.array([point.category_id for point in points], np.int64)
        known = np.union1d(numbers, seen)
        called = [labels.get(number, str(number) if labels else number) for number in known.tolist()]
        classifier.classes_, place = np.unique(called, return_inverse=True)
        classifier.labels_ = place[np.searchsorted(known, numbers)]
        classifier.seen_ = np.sort(place[np.searchsorted(known, seen)])
        classifier.encoder_, classifier.texts_ = encoder, None
        classifier.vectors_ = np.stack([point.vectors[TEXT] for point in points]).astype(np.float32)
        return classifier

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's own
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags

    def _learn(self, texts: Sequence[str], labels: NDArray[Any]) -> Self:
        # torch takes seconds to load, and only learning needs it.
        from rubrika.train.embed import LearnSettings, learn

        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"learning needs at least 2 classes, and these texts are of 1 class, {classes.item(0)!r}")
        state = self.random_state
        seed = int(state) if isinstance(state, Integral) else int(check_random_state(state).randint(2**31))
        settings = LearnSettings(size=self.size, epochs=self.epochs, seed=seed)
        labelled = [Category(code, str(code)) for code in range(len(classes))]
        self.encoder_ = learn(_products(texts, [labelled[code] for code in codes.tolist()]), Silent(), settings)
        self.texts_ = list(texts)
        self.classes_, self.seen_ = classes, np.array(self.encoder_.config.categories, np.int64)
        self.vectors_, self.labels_ = self.encoder_.encode(texts), codes.astype(np.int64)
        return self

    def _widen(self, classes: NDArray[Any]) -> None:
        """Make room for more classes, sorted as before."""
        moved = np.searchsorted(classes, self.classes_)
        self.classes_, self.seen_, self.labels_ = classes, moved[self.seen_], moved[self.labels_]

    def _check(self) -> None:
        """Refuse bad parameters, which scikit-learn allows to be set to anything."""
        for name in ("top_k", "size", *(["epochs"] if self.epochs is not None else [])):
            _whole(name, getattr(self, name))
        if not isinstance(self.temperature, Real) or not 0 <= self.temperature <= MAX_TEMPERATURE:
            raise ValueError(f"temperature is a number from 0 to {MAX_TEMPERATURE:,.0f}, not {self.temperature!r}")

    def _search(self, queries: FloatArray, count: int) -> Hits:
        return exact_hits(self.vectors_, self.labels_, queries, min(int(count), len(self.vectors_)))


def _labelled(texts: Iterable[str], labels: ArrayLike) -> tuple[list[str], NDArray[Any]]:
    found, classes = _texts(texts), _labels(labels)
    check_consistent_length(found, classes)
    assert_all_finite(classes, input_name="y")
    check_classification_targets(classes)
    if not found:
        raise ValueError("there are no texts to learn from")
    return found, classes


def _labels(given: ArrayLike) -> NDArray[Any]:
    labels: NDArray[Any] = column_or_1d(given, warn=True)
    if labels.dtype.kind in "OU":
        # As they came: next to a text, numpy turns None and numbers into texts.
        texts = [isinstance(label, str) for label in np.asarray(given, object).ravel()]
        if any(texts) and not all(texts):
            raise ValueError(f"label {texts.index(False)} is no text, but others are; give all as texts, none empty")
    return labels


def _check_kinds(known: NDArray[Any], labels: NDArray[Any]) -> None:
    """Refuse numbers among texts, which numpy would turn into texts."""
    kinds = ["texts" if each.dtype.kind in "OU" else "numbers" for each in (known, labels)]
    if len(labels) and kinds[0] != kinds[1]:
        raise ValueError(f"labels are {kinds[0]} so far, and these are {kinds[1]}; give them as {kinds[0]} too")


def _whole(name: str, value: object) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} is a whole number from 1, not {value!r}")
    return int(value)


def _products(texts: Sequence[str], categories: Sequence[Category]) -> Kept:
    rows = enumerate(zip(texts, categories, strict=True))
    return Kept([Product(row, text.split("\n", 1)[0], text, row + 1, label) for row, (text, label) in rows])


def _rows(frame: Any) -> list[str]:  # noqa: ANN401 - a DataFrame
    """The text of each row: the first column is the title, the others are named."""
    columns = [[_text(cell) for cell in frame[name].tolist()] for name in frame.columns]
    titles, others = columns[0] if columns else [], list(zip(frame.columns[1:], columns[1:], strict=True))
    named = [[f"{name}: {words[row]}" for name, words in others if words[row]] for row in range(len(titles))]
    return ["\n".join([title, *more]) for title, more in zip(titles, named, strict=True)]


def _text(cell: object) -> str:
    return "" if plain_cell(cell) is None else str(cell)


def _texts(given: Iterable[str]) -> list[str]:
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        return _rows(given)
    if isinstance(given, str) or getattr(given, "ndim", 1) != 1:
        raise ValueError("texts are given as a list, an array or a Series of them")
    texts = list(given)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {place} is {type(text).__name__}, not str; leave it out or give it as text")
    # Numpy's texts are another class.
    return [str(text) for text in texts]
