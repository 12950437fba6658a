"""Compares other methods with Rubrika on the same split: fits, predicts, times and measures each of them."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from rubrika.errors import ParameterError, RubrikaError
from rubrika.eval.heldout import Labels, Setting
from rubrika.eval.metrics import Interval, metrics_of, paired_difference, weighted_f1_interval
from rubrika.index.folder import LEARNED, Choice, Index
from rubrika.index.manifest import IMAGE, JOINT, TEXT
from rubrika.ingest.ingest import prepare
from rubrika.ingest.write import stored_vectors
from rubrika.products.product import Product, Selection
from rubrika.products.split import IntArray, Mask, Split, groups_within
from rubrika.retrieve.search import search
from rubrika.store.base import FloatArray
from rubrika.vote import Votes, fused_vote

if TYPE_CHECKING:
    from rubrika.eval.baselines import Baseline, Epoch

KNN, LINEAR, MLP, ENSEMBLE = "knn", "linear", "mlp", "ensemble"
TFIDF_KNN, TFIDF_SVM, FASTTEXT = "tfidf-knn", "tfidf-svm", "fasttext"
NAMES = (KNN, LINEAR, MLP, TFIDF_KNN, TFIDF_SVM, FASTTEXT, ENSEMBLE)
ALL = "all"
TUNED = {LINEAR, MLP, ENSEMBLE}  # something is chosen for these on a validation split
HIDDEN = 512
FETCHED = 1_000
MAX_VALIDATION_ROWS = 40_000  # enough to choose on, and no longer to wait for with millions of products

SECONDS = (
    "Seconds to train are those of all that a method needs: where it looks at vectors or neighbours, learning the "
    "encoders and ingesting count too; where something was chosen for it, so does choosing. Seconds to predict include "
    "encoding; a vector of a pretrained encoder that was in the cache cost nothing."
)

Result = TypeVar("Result")


def chosen_methods(names: str) -> tuple[str, ...]:
    """The methods in a comma-separated list, `all` being all of them; an ensemble alone gets members."""
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in (*NAMES, ALL)]
    if unknown or not wanted:
        raise ParameterError(f"no method {', '.join(unknown) or 'is named'}; there are {', '.join(NAMES)}, and {ALL}")
    if ALL in wanted:
        return NAMES
    if wanted == [ENSEMBLE]:
        wanted += [KNN, LINEAR, MLP]
    return tuple(name for name in NAMES if name in wanted)


@dataclass(frozen=True, slots=True)
class MethodResult:
    """A method, measured on the held-out products."""

    name: str
    weighted_f1: float
    interval: Interval  # of weighted F1, 95 %
    macro_f1: float
    difference: Interval | None = None  # paired, 95 %, of Rubrika's weighted F1 minus this one's; None for Rubrika
    train_seconds: float = 0.0  # to learn all that it needs
    seconds_per_10k: float = 0.0  # to predict ten thousand products
    curve: "tuple[Epoch, ...]" = ()  # of an MLP, epoch by epoch, on the validation split

    def to_dict(self) -> dict[str, Any]:
        """All of it in plain values, under the names of the command line."""
        found = asdict(self)
        return found | {"ci95": list(found.pop("interval"))}


@dataclass(frozen=True, slots=True)
class ValidationSplit:
    """Where things were chosen for methods, within the products that are not held out."""

    learned_from: int  # how many products methods learned from for that
    chosen_on: int  # how many others they were measured on
    tuned: tuple[str, ...]  # what something was chosen for: of `linear`, `mlp` and `ensemble`
    encoders: bool  # whether encoders were learned from those products too

    def describe(self) -> str:
        """A sentence for a person."""
        called = [called for name, called in ((LINEAR, "linear heads"), (MLP, "MLPs")) if name in self.tuned]
        what = [f"epochs of {' and '.join(called)}"] if called else []
        what += ["weights of the ensemble"] if ENSEMBLE in self.tuned else []
        return (
            f"The {', and the '.join(what)}{',' if len(what) > 1 else ''} were chosen on {self.chosen_on:,} products "
            f"of the training part, everything having been learned from {self.learned_from:,} others of it"
            f"{', encoders too' if self.encoders else ''}; no method has seen a held-out product."
        )


@dataclass(frozen=True)
class Part:
    """Products to learn from, or to predict the category of."""

    texts: Sequence[str]  # of n products; empty where no method looks at them
    vectors: Mapping[str, FloatArray]  # (n, size) by name; a row of zeros is a product that lacks this vector
    labels: IntArray  # their categories, (n,)
    groups: IntArray  # rows with the same number belong together, (n,)

    def rows(self, chosen: IntArray) -> "Part":
        """Some of the products, by their places (m,)."""
        texts = [self.texts[row] for row in chosen.tolist()] if self.texts else ()
        vectors = {name: rows[chosen] for name, rows in self.vectors.items()}
        return Part(texts, vectors, self.labels[chosen], self.groups[chosen])


@dataclass
class Method:
    """A way to predict: which of NAMES it belongs to, what it looks at, and what has come of it."""

    kind: str
    name: str
    vectors: tuple[str, ...] = ()  # none: it looks at texts
    estimator: "Baseline | None" = None  # what is fitted; None: an ensemble
    validated: "Baseline | None" = None  # what is fitted on the validation split, to join an ensemble
    votes: Votes | None = None  # for the held-out products
    validation: Votes | None = None  # for the validation split
    choosing: float = 0.0  # seconds, like the next two, from vectors on
    training: float = 0.0
    predicting: float = 0.0
    curve: "tuple[Epoch, ...]" = ()

    def inputs(self, part: Part) -> Any:  # noqa: ANN401 - as in Baseline
        """What it looks at."""
        return {name: part.vectors[name] for name in self.vectors} if self.vectors else part.texts


def methods_of(names: Collection[str], index: Index, top_k: int, seed: int) -> list[Method]:
    """The methods to fit for some of NAMES, for products with the vectors of an index; `top_k` neighbours vote."""
    from rubrika.eval.baselines import FastText, LinearSvm, NearestNeighbours, Network, StoredNeighbours

    store, temperature = index.store, index.manifest.vote.temperature
    vectors = tuple(name for name in (TEXT, IMAGE, JOINT) if name in index.manifest.sizes)
    inputs = [own for own in ((TEXT,), (TEXT, IMAGE), (JOINT,)) if set(own) <= set(vectors)]
    found = []
    for way, warmth in (("mode", 0.0), ("weighted vote", temperature)):
        for own in [*((name,) for name in vectors), *([vectors] if len(vectors) > 1 else [])]:
            exact = NearestNeighbours(top_k, temperature) if way != "mode" and len(own) == 1 else None
            knn = StoredNeighbours(store, top_k, warmth)
            found.append(Method(KNN, f"kNN by {' + '.join(own)}, {way}", own, knn, exact))
    for kind, title, hidden in ((LINEAR, "linear head", 0), (MLP, "MLP", HIDDEN)):
        for own in inputs if kind == LINEAR else [each for each in inputs if JOINT not in each]:
            network = Network(hidden, seed)
            found.append(Method(kind, f"{title} on {' + '.join(own)}", own, network, network))
    texts = ("TF-IDF kNN", NearestNeighbours()), ("TF-IDF + linear SVM", LinearSvm(seed)), ("fastText", FastText(seed))
    for kind, (title, estimator) in zip((TFIDF_KNN, TFIDF_SVM, FASTTEXT), texts, strict=True):
        found.append(Method(kind, title, (), estimator, estimator))
    return [method for method in found if method.kind in names]


class Comparison:
    """Runs methods while there is an index of what is not held out: a `heldout.Visit` that keeps what comes of them."""

    def __init__(self, names: Sequence[str], setting: Setting, top_k: int | None) -> None:
        self._names, self._setting, self._top_k = set(names), setting, top_k
        self._methods: list[Method] = []
        self._rubrika = Method("", "Rubrika")
        self.validation: ValidationSplit | None = None

    def __call__(self, index: Index, labels: Labels, groups: IntArray, split: Split) -> None:
        """Run all methods; what cannot be run is left out with a note."""
        setting, manifest = self._setting, index.manifest
        own, top_k = tuple(manifest.vote.weights), self._top_k or manifest.vote.top_k
        methods = methods_of(self._names, index, top_k, setting.seed)
        self._check_members(sum(method.validated is not None for method in methods))
        # Only what is looked at is kept in memory.
        learning = [method for method in methods if method.kind != KNN or ENSEMBLE in self._names]
        stored = _with_inputs(index, {name for method in learning for name in method.vectors})
        encoded = _with_inputs(index, {*own, *(name for method in methods for name in method.vectors)})
        learned = {name for name in stored if manifest.vectors[name].encoder == LEARNED}
        texts = bool(learned and TUNED & self._names) or not all(method.vectors for method in methods)
        train, test, encoding = gather(index, setting, labels, groups, split.held_out, texts, stored, encoded)
        validation, validating = None, 0.0
        if tuned := [name for name in NAMES if name in TUNED & self._names]:
            started = time.monotonic()
            try:
                validation = _validation(index, setting, split.held_out, train, learned)
            except RubrikaError as error:
                self._setting.progress.note(f"{', '.join(tuned)}: left out, as nothing can be chosen for them: {error}")
                self._names -= TUNED
            validating = time.monotonic() - started
        for method in methods:
            if method.kind in self._names and method.estimator:
                try:
                    self._fit_and_predict(method, method.estimator, train, test, validation)
                    self._methods.append(method)
                except RubrikaError as error:
                    self._setting.progress.note(f"{method.name} is left out: {error}")
        self._check_members(sum(method.validation is not None for method in self._methods))
        if validation and ENSEMBLE in self._names:
            self._methods.append(ensemble_of(self._methods, validation[1].labels))
        self._rubrika.vectors = own
        self._rubrika.predicting = sum(_timed(search, index.store, name, test.vectors[name], top_k)[0] for name in own)
        for method in (self._rubrika, *self._methods):
            method.training += setting.timer.seconds["learn and ingest"] if method.vectors else 0
            method.training += validating + method.choosing if method.kind in TUNED else 0
            method.predicting += sum(encoding[name] for name in _with_inputs(index, set(method.vectors)))
        kinds = tuple(dict.fromkeys(method.kind for method in self._methods if method.kind in TUNED))
        if validation and kinds:
            learned_from, chosen_on = (len(part.labels) for part in validation)
            self.validation = ValidationSplit(learned_from, chosen_on, kinds, bool(learned))

    def results(self, truth: IntArray, predicted: IntArray, groups: IntArray) -> tuple[MethodResult, ...]:
        """The figures of Rubrika, which has predicted these categories (n,), and then of all methods."""
        seed, results = self._setting.seed, []
        for method in (self._rubrika, *self._methods):
            winners = method.votes.winners if method.votes else predicted
            metrics = metrics_of(truth, winners)
            interval = weighted_f1_interval(truth, winners, groups, seed)
            difference = paired_difference(truth, predicted, winners, groups, seed) if method.votes else None
            seconds = round(method.training, 1), round(method.predicting / len(truth) * 10_000, 1)
            figures = metrics.weighted_f1, interval, metrics.macro_f1, difference
            results.append(MethodResult(method.name, *figures, *seconds, method.curve))
        return tuple(results)

    def _check_members(self, count: int) -> None:
        if ENSEMBLE in self._names and count < 2:
            self._names.remove(ENSEMBLE)
            self._setting.progress.note(
                f"ensemble is left out: it adds up at least 2 methods, and there is {count}; name more"
            )

    def _fit_and_predict(
        self, method: Method, estimator: "Baseline", train: Part, test: Part, validation: tuple[Part, Part] | None
    ) -> None:
        """Fit a method and let it predict, first on the validation split where something is chosen there."""
        from rubrika.eval.baselines import Network

        started = time.monotonic()
        if validation and isinstance(estimator, Network):
            (inputs, labels), held = ((method.inputs(part), part.labels) for part in validation)
            title, steps = f"choosing the epochs of {method.name}", estimator.epochs * len(labels)
            with self._setting.progress.stage(title, steps) as advance:
                curve, method.validation = estimator.choose_epochs((inputs, labels), held, advance)
            method.curve = curve if method.kind == MLP else ()
        elif validation and method.validated and ENSEMBLE in self._names:
            self._fit(method, method.validated, validation[0])
            method.validation = method.validated.votes(method.inputs(validation[1]))
        method.choosing = time.monotonic() - started
        if method.kind != KNN:
            method.training, _ = _timed(self._fit, method, estimator, train)
        method.predicting, method.votes = _timed(estimator.votes, method.inputs(test))

    def _fit(self, method: Method, estimator: "Baseline", part: Part) -> None:
        from rubrika.eval.baselines import Network

        inputs, rows = method.inputs(part), len(part.labels)
        steps = rows * estimator.epochs if isinstance(estimator, Network) else rows
        with self._setting.progress.stage(f"fitting {method.name}", steps) as advance:
            if isinstance(estimator, Network):
                estimator.fit(inputs, part.labels, advance)
            else:
                estimator.fit(inputs, part.labels)
                advance(rows)


def ensemble_of(methods: Sequence[Method], truth: IntArray) -> Method:
    """The ensemble of the methods with votes for the validation split, whose categories are `truth`."""
    from rubrika.eval.baselines import ensemble_weights

    members = {each.name: (each, each.validation) for each in methods if each.validation}
    choosing, weights = _timed(ensemble_weights, {name: votes for name, (_, votes) in members.items()}, truth)
    chosen = [members[name][0] for name in weights]
    adding, votes = _timed(fused_vote, [(each.votes, weights[each.name]) for each in chosen if each.votes])
    heaviest = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return Method(
        ENSEMBLE,
        "ensemble: " + " + ".join(f"{weight:.2f} × {name}" for name, weight in heaviest),
        tuple(dict.fromkeys(vector for each in chosen for vector in each.vectors)),
        votes=votes,
        # All of them had to learn for some to be chosen.
        training=choosing + sum(each.training + each.choosing for each, _ in members.values()),
        predicting=adding + sum(each.predicting for each in chosen),
    )


def validation_rows(groups: IntArray, seed: int) -> tuple[IntArray, IntArray]:
    """Rows to learn from and a tenth to measure on, both ascending, at most 40,000; a group is whole on one side."""
    code = np.unique(groups, return_inverse=True)[1]
    size = np.bincount(code)
    if len(size) < 2:
        raise RubrikaError("all products to learn from belong to one group, so none can be kept apart")
    order = np.random.default_rng(seed).permutation(len(size))
    both = groups_within(size, order, MAX_VALIDATION_ROWS)
    if len(both) < 2:
        both = order[np.argsort(size[order], kind="stable")[:2]]
    held = groups_within(size, both, size[both].sum() * 0.1)
    return np.flatnonzero(np.isin(code, np.setdiff1d(both, held))), np.flatnonzero(np.isin(code, held))


def _validation(
    index: Index, setting: Setting, held_out: Mask, part: Part, learned: Collection[str]
) -> tuple[Part, Part]:
    """Two sides of the training part, their learned vectors by encoders that learned from the first side alone.

    Vectors of products that an encoder has learned from are too good, and what is chosen by them is chosen wrongly.
    """
    rows = validation_rows(part.groups, setting.seed)
    train, held = (part.rows(each) for each in rows)
    if not learned:
        return train, held
    choice = setting.choice or Choice()
    if JOINT not in learned:
        choice = replace(choice, image=None, vote=None)  # no method looks at it, so none is learned
    chosen = Selection(Selection(setting.reader, ~held_out), np.isin(np.arange(len(part.labels)), rows[0]))
    encoders = prepare(chosen, setting.pictures, choice, setting.cache, setting.progress, index.store)

    def encoded(side: Part) -> Part:
        others = {name: vectors for name, vectors in side.vectors.items() if name not in learned}
        described = [Product(0, "", text, 0) for text in side.texts]
        return replace(side, vectors={**others, **encoders.encode(described, None, learned, given=others).vectors})

    return encoded(train), encoded(held)


def gather(
    index: Index,
    setting: Setting,
    labels: Labels,
    groups: IntArray,
    held_out: Mask,
    texts: bool,
    stored: Collection[str],
    encoded: Collection[str],
) -> tuple[Part, Part, dict[str, float]]:
    """The training part, its `stored` vectors read, the held-out part, and the seconds to encode that by vector."""
    encoders = index.encoders  # loaded before the clock runs
    parts: dict[str, list[FloatArray]] = {name: [] for name in (TEXT, IMAGE, JOINT) if name in encoded}
    seconds, kept, place = dict.fromkeys(parts, 0.0), list[str](), 0
    with setting.progress.stage("reading texts, encoding held-out products", len(setting.reader)) as advance:
        for batch in setting.reader:
            out = np.flatnonzero(held_out[place : place + len(batch.products)])
            place += len(batch.products)
            chosen = [batch.products[row] for row in out.tolist()]
            made: dict[str, FloatArray] = {}
            for name in parts if chosen else ():
                spent, result = _timed(encoders.encode, chosen, setting.pictures, [name], given=made)
                made |= result.vectors
                seconds[name] += spent
                parts[name].append(made[name])
            kept += [product.text for product in batch.products] if texts else []
            advance(batch.rows)
    whole, train = Part(kept, {}, labels.categories, groups), np.flatnonzero(~held_out)
    sizes = {name: index.manifest.sizes[name] for name in stored}
    vectors = {name: np.zeros((len(train), size), np.float32) for name, size in sizes.items()}
    with setting.progress.stage("reading stored vectors", len(train) if stored else 0) as advance:
        for start in range(0, len(train) if stored else 0, FETCHED):
            ids = labels.ids[train[start : start + FETCHED]].tolist()
            for name, rows in stored_vectors(index.store, ids, sizes).items():
                vectors[name][start : start + len(ids)] = rows
            advance(len(ids))
    joined = {name: np.concatenate(each) for name, each in parts.items()}
    test = replace(whole.rows(np.flatnonzero(held_out)), vectors=joined)
    return replace(whole.rows(train), vectors=vectors), test, seconds


def _with_inputs(index: Index, names: set[str]) -> set[str]:
    """Some vectors and those that they are made from."""
    joint = index.encoders.joint if JOINT in names else None
    return names | set(joint.config.inputs) if joint else names


def _timed(work: Callable[..., Result], *args: Any, **kwargs: Any) -> tuple[float, Result]:  # noqa: ANN401 - the work's
    started = time.monotonic()
    result = work(*args, **kwargs)
    return time.monotonic() - started, result
