"""What takes too long to run whole, for compare.py: timed on a sample, and extrapolated to all products."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Texts that are encoded and products that are asked about; the rest is extrapolated.
SAMPLE = 512
ASKED = 1_000
UPSERT = 1_024


def timed(work: Callable[[], object]) -> float:
    """Seconds that something takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def sentence_neighbours(train: list[str], test: list[str], model: str) -> float:
    """Seconds that sentence-transformers and scikit-learn's kNN, the reference's way, would take beyond this run.

    Encoding is timed on some texts of both parts drawn at random; the search among as many vectors as there would be.
    """
    from sentence_transformers import SentenceTransformer
    from sklearn.neighbors import KNeighborsClassifier

    encoder, random = SentenceTransformer(model, device="cpu"), np.random.default_rng(0)
    texts = train + test
    drawn = [texts[i] for i in random.choice(len(texts), min(SAMPLE, len(texts)), replace=False)]
    vectors = np.zeros((0, 1), np.float32)

    def encode() -> None:
        nonlocal vectors
        vectors = np.asarray(encoder.encode(drawn, normalize_embeddings=True, show_progress_bar=False))

    encoding = timed(encode) / len(drawn)
    known = vectors[random.integers(0, len(vectors), len(train))]
    neighbours = KNeighborsClassifier(10, metric="cosine", algorithm="brute").fit(known, np.arange(len(known)) % 1_000)
    asking = timed(lambda: neighbours.predict(known[:ASKED])) / ASKED
    return encoding * (len(texts) - len(drawn)) + asking * (len(test) - ASKED)


def local_mode(vectors: NDArray[np.float32], asked: NDArray[np.float32]) -> float:
    """Seconds that qdrant-client's local mode would take beyond this run, as the store of vectors that are there."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    size = models.VectorParams(size=vectors.shape[1], distance=models.Distance.COSINE)
    client.create_collection("products", vectors_config={"text": size})
    for start in range(0, len(vectors), UPSERT):
        rows = vectors[start : start + UPSERT].tolist()
        points = [models.PointStruct(id=start + i, vector={"text": row}, payload={}) for i, row in enumerate(rows)]
        client.upsert("products", points)

    def ask() -> None:
        for row in asked[:ASKED].tolist():
            client.query_points("products", query=row, using="text", limit=10)

    return timed(ask) / ASKED * (len(asked) - ASKED)
