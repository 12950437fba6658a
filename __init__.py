"""Rubrika predicts a product's category from its most similar labelled products."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Index", "Predictions", "RetrievalClassifier", "RubrikaError"]

if TYPE_CHECKING:
    from rubrika.api import Index
    from rubrika.errors import RubrikaError
    from rubrika.estimator import RetrievalClassifier
    from rubrika.retrieve.predictions import Predictions
else:
    from importlib import import_module

    # Each is imported when it is asked for, so that `import rubrika` and `rubrika --help` stay quick.
    _HOMES = {
        "Index": "rubrika.api",
        "Predictions": "rubrika.retrieve.predictions",
        "RetrievalClassifier": "rubrika.estimator",
        "RubrikaError": "rubrika.errors",
    }

    def __getattr__(name: str) -> type:
        if name not in _HOMES:
            raise AttributeError(f"module 'rubrika' has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
