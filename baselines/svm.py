"""A linear SVM on TF-IDF.

It is LIBLINEAR's multi-class SVM (Crammer and Singer 2001, solved as in Keerthi et al. 2008), one problem for all
categories, rather than the usual one against the rest for each of them. On 16,043 products of 764 categories
(a quarter of uhtt-91k, whole groups held out, one thread) it takes 14 seconds of processor time and has a weighted F1
of 0.860; one against the rest, every feature kept, to a tolerance of 1e-4, takes 84 and has 0.850; with features of at
least two texts and a tolerance of 0.1 it has 0.857. A tolerance of 0.1 instead of 1 takes 28 seconds, for 0.858.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rubrika.baselines.baseline import CHUNK, BaselineError, Part, best_of, joined
from rubrika.baselines.tfidf import Tfidf
from rubrika.progress import Progress
from rubrika.store.base import FloatArray
from rubrika.vote import Votes

GIGABYTE = 1e9
# LIBLINEAR's own weights and scikit-learn's copy of them, both in double precision.
BYTES_A_WEIGHT = 16
MOST_GB = 16.0
# How much clearer a category is whose score is higher by 1, the margin that was aimed at.
SHARPNESS = 5.0


@dataclass(frozen=True, slots=True)
class LinearSvm:
    """Words, word pairs and character 3–5-grams by TF-IDF, and a linear SVM.

    Args:
        cost: of an error.
        tolerance: when it is solved well enough.
        seed: of the order in which products are looked at.
    """

    cost: float = 0.5
    tolerance: float = 1.0
    seed: int = 0
    name: str = "TF-IDF + linear SVM"
    vectors: tuple[str, ...] = ()

    def fit(self, part: Part, progress: Progress) -> "_Planes":
        """As in Baseline; refused when it would take too much memory."""
        features = Tfidf(words=True)
        from sklearn.svm import LinearSVC

        rows, categories = features.learn(part), np.unique(part.labels)
        size = rows.shape[1] * len(categories) * BYTES_A_WEIGHT / GIGABYTE
        if size > MOST_GB:
            raise BaselineError(f"a linear SVM would take {size:.0f} GB of memory; compare on fewer products")
        if len(categories) < 2:
            raise BaselineError("a linear SVM tells categories apart, and there is only one; add products of others")
        svm = LinearSVC(C=self.cost, tol=self.tolerance, multi_class="crammer_singer", random_state=self.seed)
        with progress.stage("fitting the linear SVM", 1) as advance:
            svm.fit(rows, part.labels)
            advance(1)
        planes, constant = svm.coef_.astype(np.float32), svm.intercept_.astype(np.float32)
        if len(categories) == 2:
            # Of two categories scikit-learn keeps what the second has more than the first.
            planes, constant = np.concatenate([0 * planes, planes]), np.concatenate([0 * constant, constant])
        return _Planes(features, categories, planes, constant)


@dataclass(frozen=True, slots=True)
class _Planes:
    features: Tfidf
    categories: NDArray[np.int64]
    planes: FloatArray
    constant: FloatArray

    def predict(self, part: Part) -> Votes:
        """As in Fitted."""
        rows, votes = self.features.rows(part), []
        for start in range(0, len(part), CHUNK):
            scores = rows[start : start + CHUNK] @ self.planes.T + self.constant
            votes.append(best_of(self.categories, SHARPNESS * scores))
        return joined(votes)
