"""The classifier of texts as one of tables, so that what scikit-learn checks with numbers can be checked at all."""

from typing import Self

import numpy as np
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from rubrika import RetrievalClassifier

LETTERS = np.array(list("абвгдежзийклмнопрстуфхцчшщыэюя"))


class Tables(RetrievalClassifier):
    """Every row becomes a text: a word a column and grid, the finer the grid the nearer two numbers that share it."""

    def fit(self, X: object, y: object) -> Self:  # noqa: N803
        return super().fit(words(validate_data(self, X)), y)

    def partial_fit(self, X: object, y: object, classes: object = None) -> Self:  # noqa: N803
        rows = validate_data(self, X, reset=not hasattr(self, "classes_"))
        return super().partial_fit(words(rows), y, classes)

    def predict(self, X: object) -> np.ndarray:  # noqa: N803
        return super().predict(self._known(X))

    def predict_proba(self, X: object) -> np.ndarray:  # noqa: N803
        return super().predict_proba(self._known(X))

    def _known(self, X: object) -> list[str]:  # noqa: N803
        check_is_fitted(self)
        return words(validate_data(self, X, reset=False))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


def words(rows: np.ndarray) -> list[str]:
    rows = np.asarray(rows, np.float64)
    parts = [
        np.char.add(np.char.add(spelled(np.arange(rows.shape[1])), grid), spelled(np.floor(rows * fine)))
        for grid, fine in (("ъ", 0.5), ("ь", 1.0), ("ё", 2.0))
    ]
    return [" ".join(row) for row in np.concatenate(parts, axis=1)]


def spelled(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers in letters, three each."""
    numbers = numbers.astype(np.int64) % len(LETTERS) ** 3
    digits = [LETTERS[numbers // len(LETTERS) ** place % len(LETTERS)] for place in range(3)]
    return np.char.add(np.char.add(digits[2], digits[1]), digits[0])
