"""Predicts the categories of products: a vote over the hits of each, and what its outcome is worth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from rubrika.errors import ParameterError
from rubrika.index.folder import Index
from rubrika.products.images import PictureFolder
from rubrika.products.product import Category, Products
from rubrika.retrieve.confidence import Decisions, decide
from rubrika.retrieve.guarantee import DEFAULT, Policy
from rubrika.retrieve.newcomers import Newcomers
from rubrika.retrieve.search import SearchResult, search_products
from rubrika.retrieve.tree import Levels, Tree, path_confidence
from rubrika.vote import Votes, vote_over


@dataclass(frozen=True, slots=True)
class Classified(SearchResult):
    """A batch with the predictions for its products."""

    votes: Votes
    decided: Decisions
    tree: Tree  # the categories that are known
    levels: Callable[[], Levels]  # computes the confidence at each level of the most voted leaf's path
    suggestions: Callable[[], list[str | None]]  # computes the nearest name of a category without products


def classify(
    index: Index,
    products: Products,
    pictures: PictureFolder | None = None,
    top_k: int | None = None,
    policy: Policy = DEFAULT,
    level: int | None = None,
    include_self: bool = False,
) -> Iterator[Classified]:
    """Yield every batch with its predictions; labels are ignored.

    Of each vector `top_k` hits vote, by default as many as the index says. With a `level` of the tree, counted from 1
    at the top, the best category there is predicted and decided, under the id of its most voted leaf. A stored product
    is left out of its own hits, unless `include_self`.
    """
    settings = index.manifest.vote
    settings = replace(settings, top_k=top_k or settings.top_k)
    newcomers, tree = index.remembered(_known)
    weights, calibration = settings.weights, index.manifest.calibration
    for found in search_products(index, products, pictures, settings.top_k, include_self):
        hits = found.hits
        votes = vote_over(newcomers.voting(hits, found.vectors, settings), settings)
        tree.learn(index.store, hits)
        levels = partial(path_confidence, tree, hits, votes, weights, calibration, policy)
        judged = hits, votes
        if level is not None:
            votes = tree.at(votes, level)
            judged = tree.map_to_level(hits, votes, level)
        decided = decide(*judged, weights, calibration, policy, level)
        suggestions = partial(newcomers.suggestions, found.vectors)
        yield Classified(found.batch, hits, found.vectors, found.failures, votes, decided, tree, levels, suggestions)


def check_level(index: Index, level: int | None) -> None:
    """Refuse a level of the tree, if one is given, that is deeper than all categories."""
    if level is None:
        return
    names = index.remembered(_known)[0].names
    deepest = max((len(Category(id, path).levels) for id, path in names.items()), default=1)
    if level > deepest:
        raise ParameterError(f"`level` is at most {deepest}, as deep as the categories of {index.folder} are")


def _known(index: Index) -> tuple[Newcomers, Tree]:
    newcomers = index.remembered(Newcomers.of)
    return newcomers, Tree(Category(id, path) for id, path in newcomers.names.items())
