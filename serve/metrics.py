"""What the service tells Prometheus: requests, decisions, how sure they are, and the state of the index."""

import math
import time
from collections.abc import Callable
from datetime import datetime

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rubrika.index.folder import Index as Opened
from rubrika.retrieve.classify import Classified
from rubrika.retrieve.confidence import nearest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Metrics:
    """The figures of one router, in a registry of its own."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self._registry = registry = CollectorRegistry()
        route = ("method", "path")
        self.requests = Counter("rubrika_requests", "Requests.", (*route, "status"), registry=registry)
        self.seconds = Histogram(
            "rubrika_request_seconds", "How long requests took.", route, buckets=_SECONDS, registry=registry
        )
        self._decisions = Counter("rubrika_decisions", "Products, by decision.", ("decision",), registry=registry)
        parts = [step / 10 for step in range(1, 11)]
        self._confidence = Histogram(
            "rubrika_confidence", "How likely predictions are right.", buckets=parts, registry=registry
        )
        parts = [step / 20 for step in range(1, 21)]
        self._similarity = Histogram(
            "rubrika_similarity", "The similarity of the nearest neighbour.", buckets=parts, registry=registry
        )
        self._batch = Histogram("rubrika_batch_products", "Products together.", buckets=_BATCH, registry=registry)
        self._words = Counter("rubrika_words", "Words of products.", registry=registry)
        self._unseen = Counter(
            "rubrika_unseen_words", "Those that the encoder has not learned from.", registry=registry
        )
        self._rejected = Counter("rubrika_rejected", "Objects that were no products.", registry=registry)
        self._products = Gauge("rubrika_index_products", "Products in the index.", registry=registry)
        self._categories = Gauge("rubrika_index_categories", "Categories with products.", registry=registry)
        waits = Gauge("rubrika_waiting_requests", "Requests that wait for the index.", registry=registry)
        waits.set_function(waiting)
        self._calibrated = math.nan
        age = Gauge("rubrika_calibration_age_seconds", "Since the index was calibrated.", registry=registry)
        age.set_function(lambda: time.time() - self._calibrated)

    def opened(self, index: Opened) -> None:
        """Note what is in an index that was opened."""
        self._products.set(index.store.count())
        self._categories.set(len(index.store.facet("category_id")))
        at = index.manifest.calibration.at
        try:
            self._calibrated = datetime.fromisoformat(at).timestamp() if at else math.nan
        except ValueError:
            self._calibrated = math.nan

    def classified(self, index: Opened, one: Classified) -> None:
        """Count a batch of predictions."""
        decisions, counts = np.unique(one.decided.decisions, return_counts=True)
        for decision, count in zip(decisions.tolist(), counts.tolist(), strict=True):
            self._decisions.labels(decision).inc(count)
        for confidence in one.decided.confidences.tolist():
            self._confidence.observe(confidence)
        for similarity in nearest(one.hits).tolist():
            if math.isfinite(similarity):
                self._similarity.observe(similarity)
        self._batch.observe(one.batch.rows)
        if words := index.encoders.unseen_words(one.batch.products):
            self._unseen.inc(words[0])
            self._words.inc(words[1])

    def rejected(self, count: int) -> None:
        """Count objects that were no products."""
        self._rejected.inc(count)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
