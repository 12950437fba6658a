"""Learning from very many products: from as many as memory allows, drawn at random, the same ones every time."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np

from rubrika.products.product import Batch, Category, Product, Reject
from rubrika.progress import Advance, Silent
from rubrika.train.embed import Input, LearnSettings, learn

FILE = Path("catalogue.parquet")
NAMES = ("кроссовки беговые", "чехол силиконовый", "корм для кошек", "чайник стальной")
SMALL = LearnSettings(size=16, bits=12, epochs=6, batch_size=16, learning_rate=0.1, max_products=100)


class Catalogue:
    """Products of four kinds, one after the other, with as many bad rows as is asked for."""

    files = (FILE,)

    def __init__(self, count: int, bad: int = 0) -> None:
        kinds = [Category(kind, f"Все категории->{name}") for kind, name in enumerate(NAMES)]
        texts = [f"{NAMES[n % 4]} модель {n}" for n in range(count)]
        self.products = [Product(n, text, text, n, kinds[n % 4]) for n, text in enumerate(texts)]
        self.rejects = [Reject(FILE, count + n, "", "text_fields is empty") for n in range(bad)]

    def __len__(self) -> int:
        return len(self.products) + len(self.rejects)

    def __iter__(self) -> Iterator[Batch]:
        yield Batch(FILE, self.products[:150], self.rejects)
        yield Batch(FILE, self.products[150:], [])

    def check(self) -> None:
        pass


def test_of_very_many_products_some_are_learned_from_and_all_are_known_about() -> None:
    seen = []

    class Counted(Silent):
        def stage(self, title: str, total: int) -> AbstractContextManager[Advance]:
            seen.append((title, total))
            return super().stage(title, total)

    encoder = learn(Catalogue(300), Counted(), SMALL)
    assert ("learning the text encoder", 6 * 100) in seen
    assert encoder.config.products == 300
    assert encoder.config.categories == (0, 1, 2, 3)
    known = encoder.encode(list(NAMES))
    assert (encoder.encode([f"{name} новая" for name in NAMES]) @ known.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_the_same_seed_draws_the_same_products() -> None:
    first, again, other = (learn(Catalogue(300), Silent(), replace(SMALL, seed=seed)) for seed in (0, 0, 1))
    asked = ["корм сухой"]
    assert np.array_equal(first.encode(asked), again.encode(asked))
    assert not np.array_equal(first.encode(asked), other.encode(asked))


def test_bad_rows_are_not_drawn() -> None:
    # With the bad rows there are more than fit, without them all products do.
    whole, with_bad = (learn(Catalogue(90, bad), Silent(), SMALL) for bad in (0, 60))
    assert with_bad.config.products == 90
    assert np.array_equal(whole.encode(["чайник"]), with_bad.encode(["чайник"]))


def test_what_goes_with_the_products_is_drawn_with_them() -> None:
    catalogue = Catalogue(300)
    pictures = np.eye(4, dtype=np.float32)[np.arange(300) % 4]
    encoder = learn(catalogue, Silent(), SMALL, inputs={"image": Input.of(pictures)})
    known = encoder.encode(list(NAMES), {"image": np.eye(4, dtype=np.float32)})
    unnamed = encoder.encode(["?"] * 4, {"image": np.eye(4, dtype=np.float32)})
    assert (unnamed @ known.T).argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_without_numba_learning_is_refused_in_a_sentence() -> None:
    script = (
        "import sys; sys.modules['numba'] = None\n"
        "from rubrika.errors import EncoderError\n"
        "try:\n    import rubrika.train.embed\nexcept EncoderError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "learning needs numba; pip install 'rubrika[train]'\n"
