"""TF-IDF of texts, and the vote of the products whose texts are alike by it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import BaselineError, Part, joined, need
from rubrika.progress import Progress
from rubrika.retrieve.search import best_hits
from rubrika.vote import Votes, weighted_vote

# What stands in one text alone says nothing about another; of few texts, all there is.
MANY = 1_000
# A row of scores for every known product: so few rows at once that they stay small.
ROWS = 256


class Tfidf:
    """Weights of a text's features, float32 rows of length 1 a kind: character 3–5-grams, and words with their pairs.

    Args:
        words: whether to take words and pairs too.
    """

    def __init__(self, words: bool) -> None:
        need("sklearn", "scikit-learn")
        self._words = words
        self._kinds: list[Any] = []

    def learn(self, part: Part) -> Any:  # noqa: ANN401 - scipy's csr matrix, (n, features)
        """Learn the features and their weights; gives the rows of these very texts.

        Raises:
            BaselineError: the texts have no words.
        """
        from scipy.sparse import hstack
        from sklearn.feature_extraction.text import TfidfVectorizer

        common: dict[str, Any] = {"min_df": 2 if len(part) >= MANY else 1, "sublinear_tf": True, "dtype": np.float32}
        self._kinds = [TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common)]
        if self._words:
            self._kinds.append(TfidfVectorizer(ngram_range=(1, 2), **common))
        try:
            return hstack([kind.fit_transform(part.texts) for kind in self._kinds], format="csr")
        except ValueError as error:
            raise BaselineError(f"the texts have too few words for TF-IDF ({error})") from None

    def rows(self, part: Part) -> Any:  # noqa: ANN401 - as above
        """The rows of other texts."""
        from scipy.sparse import hstack

        return hstack([kind.transform(part.texts) for kind in self._kinds], format="csr")


@dataclass(frozen=True, slots=True)
class TfidfNeighbours:
    """Neighbours by the cosine of character 3–5-grams.

    Args:
        top_k: how many vote.
        temperature: how much more near ones count.
    """

    top_k: int = 5
    temperature: float = 20.0
    name: str = "TF-IDF kNN"
    vectors: tuple[str, ...] = ()

    def fit(self, part: Part, progress: Progress) -> "_Known":
        """As in Baseline."""
        features = Tfidf(words=False)
        return _Known(self, features, features.learn(part).T.tocsr(), part.labels)


@dataclass(frozen=True, slots=True)
class _Known:
    by: TfidfNeighbours
    features: Tfidf
    columns: Any
    labels: NDArray[np.int64]

    def predict(self, part: Part) -> Votes:
        """As in Fitted."""
        rows, votes = self.features.rows(part), []
        for start in range(0, len(part), ROWS):
            scores = (rows[start : start + ROWS] @ self.columns).toarray()
            votes.append(weighted_vote(best_hits(scores, self.labels, self.by.top_k), self.by.temperature))
        return joined(votes)
