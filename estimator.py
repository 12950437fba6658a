"""Retrieval and its vote as a scikit-learn classifier of texts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from rubrika.encode.image import PictureEncoder, encode_pictures
from rubrika.encode.learned import LearnedEncoder
from rubrika.encode.registry import picture_encoder
from rubrika.index.categories import read_labels
from rubrika.index.encoders import Encoders
from rubrika.index.folder import Index
from rubrika.index.location import Location
from rubrika.index.manifest import IMAGE, TEXT, VoteSettings
from rubrika.ingest.ingest import ingest
from rubrika.products.identity import path_label
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category, Kept, Product
from rubrika.products.row import picture_cell, plain_cell
from rubrika.progress import Silent
from rubrika.retrieve.exact import exact_hits
from rubrika.store.base import FloatArray, Hits
from rubrika.vote import Votes, vote_over, with_unseen_reach

# Beyond this the nearest neighbour alone decides, and float32 is still far from its limits.
MAX_TEMPERATURE = 1e6


class RetrievalClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns an encoder from labelled texts, and predicts the label of a text from the most similar ones.

    It decides as an index of the same texts does, but keeps their vectors as arrays and searches them exactly. It knows
    no ids: a text that it was fitted on votes for itself. Texts may also be the rows of a DataFrame: the first column
    is the title, the others say more, and empty cells nothing. With an image encoder one column holds pictures, and a
    vector is of both, as in an index with pictures. Every wrong argument is a ValueError.

    Args:
        top_k: how many neighbours vote.
        temperature: how much more near ones count than far ones, 0 … 1,000,000.
        size: the width of a vector.
        epochs: how often every text is seen in learning; None: the fewer texts, the more often (4 to 20 times).
        random_state: of learning; with a number, the same texts give the same classifier.
        image_encoder: for the pictures of a DataFrame: `vit`, `clip`, `efficientnet-lite0`, a model's name or folder.
        images: the folder of pictures whose column has their file names, not themselves.
        image_column: what that column is called.

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
        image_encoder: str | None = None,
        images: str | Path | None = None,
        image_column: str = "image",
    ) -> None:
        self.top_k, self.temperature, self.size = top_k, temperature, size
        self.epochs, self.random_state = epochs, random_state
        self.image_encoder, self.images, self.image_column = image_encoder, images, image_column

    def fit(self, X: Iterable[str], y: ArrayLike) -> Self:  # noqa: N803 - as scikit-learn calls it
        """Learn from n texts and their labels, all texts or all numbers, and forget what was learned before."""
        self._check()
        return self._learn(*self._labelled(X, y))

    def partial_fit(self, X: Iterable[str], y: ArrayLike, classes: ArrayLike | None = None) -> Self:  # noqa: N803
        """Add labelled texts, which count at once; only the first call learns, as `fit` does.

        `classes` are labels that may come besides the known ones; at the first call, by default those in `y`.
        """
        self._check()
        rows, labels = self._labelled(X, y)
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
            self.vectors_ = np.concatenate([self.vectors_, self._encoded(rows)])
            self.labels_ = np.concatenate([self.labels_, np.searchsorted(self.classes_, labels)])
            self.texts_ = None if self.texts_ is None else [*self.texts_, *rows.texts]
        else:
            self._learn(rows, labels)
            self._widen(allowed)
        return self

    def predict(self, X: Iterable[str]) -> NDArray[Any]:  # noqa: N803
        """The most likely label of each of n texts, (n,)."""
        # Of equal shares that of the nearer text wins, as in an index.
        winners = self._votes(X).winners
        return np.asarray(self.classes_[winners])

    def predict_proba(self, X: Iterable[str]) -> NDArray[np.float64]:  # noqa: N803
        """Each class's share of the vote, (n, classes): no calibrated probability, see `CalibratedClassifierCV`."""
        votes = self._votes(X)
        shares = np.zeros((len(votes.shares), len(self.classes_)))
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
            hits = self._search(self._encoded(self._rows(X)), count)
        positions = hits.ids.astype(np.int64)
        # A float32 cosine may exceed 1 by its last digit.
        return (np.maximum(1 - hits.scores, 0), positions) if return_distance else positions

    def to_index(self, folder: str | Path) -> None:
        """Make an index of all texts so far, with this encoder and vote, calibrated; their ids are their positions."""
        check_is_fitted(self)
        if self.texts_ is None:
            raise ValueError("this classifier came from an index, which has its texts; copy that folder")
        if self.encoder_.config.inputs:
            raise ValueError("its pictures are not kept; make the index of them with `Index.ingest`")
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

    def _votes(self, given: Iterable[str]) -> Votes:
        check_is_fitted(self)
        rows = self._rows(given)
        self._check()
        vote = VoteSettings({TEXT: 1.0}, self.top_k, self.temperature)
        hits = {TEXT: self._search(self._encoded(rows), self.top_k)}
        return vote_over(with_unseen_reach(hits, vote, {TEXT: self.seen_}), vote)

    def _rows(self, given: Any) -> "_Rows":  # noqa: ANN401
        """Texts and, with an image encoder, pictures."""
        is_frame = hasattr(given, "columns") and hasattr(given, "iloc")
        if self.image_encoder is None:
            return _Rows(_texts_of(given) if is_frame else _texts(given))
        if not is_frame or self.image_column not in given.columns:
            raise ValueError(f"pictures are in the column {self.image_column!r} of a DataFrame, and there is none")
        texts = _texts_of(given.drop(columns=self.image_column))
        folder = None if self.images is None else Path(self.images).expanduser()
        pictures, cells = PictureFolder(folder), [plain_cell(cell) for cell in given[self.image_column].tolist()]
        # Without a name in the row there is no picture: it has no id that a file could be called by.
        found = (picture_cell(cell) for cell in cells)
        return _Rows(texts, [pictures.find("", image) if image else None for image in found])

    def _labelled(self, given: Any, labels: ArrayLike) -> tuple["_Rows", NDArray[Any]]:  # noqa: ANN401
        found, classes = self._rows(given), _labels(labels)
        check_consistent_length(found.texts, classes)
        assert_all_finite(classes, input_name="y")
        check_classification_targets(classes)
        if not found.texts:
            raise ValueError("there are no texts to learn from")
        return found, classes

    def _pictured(self, rows: "_Rows") -> dict[str, FloatArray]:
        """The vectors of pictures, (n, width); a row of zeros is one that is missing or cannot be used."""
        if rows.pictures is None:
            return {}
        encoder = _picture_encoder(str(self.image_encoder))
        return {IMAGE: encode_pictures(encoder, rows.pictures)[0]}

    def _encoded(self, rows: "_Rows") -> FloatArray:
        inputs, known = self._pictured(rows), self.encoder_.config.inputs
        if {name: vectors.shape[1] for name, vectors in inputs.items()} != known:
            raise ValueError("`image_encoder` is not the one that it was fitted with; fit it again")
        return self.encoder_.encode(rows.texts, inputs)

    def _learn(self, rows: "_Rows", labels: NDArray[Any]) -> Self:
        # numba takes a second to load, and only learning needs it.
        from rubrika.train.embed import Input, LearnSettings, learn

        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"learning needs at least 2 classes, and these texts are of 1 class, {classes.item(0)!r}")
        state = self.random_state
        seed = int(state) if isinstance(state, Integral) else int(check_random_state(state).randint(2**31))
        settings = LearnSettings(size=self.size, epochs=self.epochs, seed=seed)
        labelled = [Category(code, str(code)) for code in range(len(classes))]
        pictured = self._pictured(rows)
        if not all(vectors.any() for vectors in pictured.values()):
            advice = "give bytes, or file names and their folder as `images`"
            raise ValueError(f"no row has a picture that can be used in the column {self.image_column!r}; {advice}")
        products = _products(rows.texts, [labelled[code] for code in codes.tolist()])
        inputs = {name: Input.of(vectors.astype(np.float16)) for name, vectors in pictured.items()}
        self.encoder_ = learn(products, Silent(), settings, inputs)
        self.texts_ = list(rows.texts)
        self.classes_, self.seen_ = classes, np.array(self.encoder_.config.categories, np.int64)
        self.vectors_, self.labels_ = self.encoder_.encode(rows.texts, pictured), codes.astype(np.int64)
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


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is known of n products; `pictures` is None where none are asked for."""

    texts: list[str]
    pictures: list[Path | bytes | None] | None = None


@lru_cache(maxsize=2)
def _picture_encoder(spec: str) -> PictureEncoder:
    # Not an attribute: a classifier is pickled and copied, a model is loaded where it is used.
    return picture_encoder(spec)


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


def _texts_of(frame: Any) -> list[str]:  # noqa: ANN401 - a DataFrame
    """The text of each row: the first column is the title, the others are named."""
    columns = [[_text(cell) for cell in frame[name].tolist()] for name in frame.columns]
    titles, others = columns[0] if columns else [], list(zip(frame.columns[1:], columns[1:], strict=True))
    named = [[f"{name}: {words[row]}" for name, words in others if words[row]] for row in range(len(titles))]
    return ["\n".join([title, *more]) for title, more in zip(titles, named, strict=True)]


def _text(cell: object) -> str:
    # A picture is no text.
    return "" if plain_cell(cell) is None or isinstance(cell, bytes | dict) else str(cell)


def _texts(given: Iterable[str]) -> list[str]:
    if isinstance(given, str) or getattr(given, "ndim", 1) != 1:
        raise ValueError("texts are given as a list, an array or a Series of them")
    texts = list(given)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {place} is {type(text).__name__}, not str; leave it out or give it as text")
    # Numpy's texts are another class.
    return [str(text) for text in texts]
