"""Vectors kept on disk: found again, never half, and encoded once however often a run is killed."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rubrika.encode.base import FloatArray
from rubrika.encode.cache import VectorCache, cached_encode
from rubrika.encode.image import cached_pictures
from rubrika.products.images import picture_hash

SIZE = 4
DAMAGES = {
    "cut in its header": lambda whole: whole[:20],
    "cut in its rows": lambda whole: whole[:40_000],
    "something else": lambda whole: b"x" * len(whole),
}


def key(number: int) -> str:
    return f"{number:016x}"


def vector(number: int) -> FloatArray:
    return np.full(SIZE, number, np.float32)


def fill(cache: VectorCache, numbers: range) -> None:
    cache.put([key(n) for n in numbers], np.stack([vector(n) for n in numbers]))


def test_what_was_put_is_found_by_the_next_process_bit_for_bit(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(3, SIZE)).astype(np.float32)
    hashes = [key(0), key(2**64 - 1), key(77)]
    VectorCache(tmp_path, "rubert", SIZE).put(hashes, vectors)
    found, known = VectorCache(tmp_path, "rubert", SIZE).get([hashes[2], key(5), hashes[0]])
    assert found.tolist() == [True, False, True]
    np.testing.assert_array_equal(known, vectors[[2, 0]])


def test_another_encoder_has_another_cache(tmp_path: Path) -> None:
    fill(VectorCache(tmp_path, "rubert", SIZE), range(3))
    assert len(VectorCache(tmp_path, "vit", SIZE)) == 0
    assert len(VectorCache(tmp_path, "rubert", SIZE)) == 3


def test_a_torn_write_is_ignored_and_the_rest_goes_on(tmp_path: Path) -> None:
    writer = VectorCache(tmp_path / "whole", "rubert", SIZE)
    for n in range(10):
        fill(writer, range(n, n + 1))
    (log,) = (tmp_path / "whole").glob("*-wal")
    whole, counts = log.read_bytes(), []
    for number, cut in enumerate(range(1, len(whole), len(whole) // 25)):
        # As a power cut leaves it: the log ends within a write.
        shutil.copytree(log.parent, torn := tmp_path / str(number), ignore=shutil.ignore_patterns("*-shm"))
        (torn / log.name).write_bytes(whole[:cut])
        cache = VectorCache(torn, "rubert", SIZE)
        found, known = cache.get([key(n) for n in range(10)])
        counts.append(len(cache))
        assert found[: len(cache)].all()
        np.testing.assert_array_equal(known[:, 0], np.arange(len(cache)))
    assert counts == sorted(counts)
    assert set(range(10)) - set(counts) == set()
    fill(cache, range(10))
    assert VectorCache(torn, "rubert", SIZE).get([key(n) for n in range(10)])[0].all()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_anew(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    vectors = np.random.default_rng(1).normal(size=(400, 64)).astype(np.float32)
    hashes = [key(n) for n in range(400)]
    VectorCache(tmp_path, "rubert", 64).put(hashes, vectors)
    (path,) = tmp_path.iterdir()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    cache = VectorCache(tmp_path, "rubert", 64)
    for _ in range(2):
        np.testing.assert_array_equal(cached_encode(cache, hashes, lambda rows: vectors[rows]), vectors)
    assert caplog.text.count("this cache of vectors cannot be used") == 1
    assert VectorCache(tmp_path, "rubert", 64).get(hashes)[0].all()


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = VectorCache(tmp_path / "file", "rubert", SIZE)
    made = cached_encode(cache, [key(1), key(2)], lambda rows: np.stack([vector(row) for row in rows]))
    np.testing.assert_array_equal(made[:, 0], [0, 1])
    assert (len(cache), caplog.text.count("cannot be used")) == (0, 1)


def test_two_processes_write_and_read_at_once(tmp_path: Path) -> None:
    one, other = VectorCache(tmp_path, "rubert", SIZE), VectorCache(tmp_path, "rubert", SIZE)
    for start in range(0, 40, 4):
        fill(one, range(start, start + 2))
        fill(other, range(start + 2, start + 4))
        assert len(VectorCache(tmp_path, "rubert", SIZE)) == start + 4
    found, known = VectorCache(tmp_path, "rubert", SIZE).get([key(n) for n in range(40)])
    assert found.all()
    np.testing.assert_array_equal(known[:, 0], np.arange(40))


def test_a_killed_process_leaves_whole_vectors_only(tmp_path: Path) -> None:
    program = (
        "import sys, itertools, numpy as np; from pathlib import Path; from rubrika.encode.cache import VectorCache\n"
        "cache = VectorCache(Path(sys.argv[1]), 'rubert', 4)\n"
        "for n in itertools.count():\n"
        "    cache.put([f'{n:016x}'], np.full((1, 4), n, np.float32)); print(n, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.2)
        writer.kill()
        said = 1 + len(writer.stdout.read().splitlines())
    cache = VectorCache(tmp_path, "rubert", SIZE)
    assert said <= len(cache) <= said + 1
    np.testing.assert_array_equal(cache.get([key(n) for n in range(said)])[1][:, 0], np.arange(said))


def test_after_a_write_that_failed_nothing_is_mixed_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = VectorCache(tmp_path, "rubert", SIZE)
    fill(cache, range(2))
    assert cache._database is not None
    cache._database.execute("PRAGMA max_page_count = 10")
    fill(cache, range(2, 20_000))
    assert "database or disk is full" in caplog.text
    fill(cache, range(4, 6))
    for each in (cache, VectorCache(tmp_path, "rubert", SIZE)):
        found, known = each.get([key(n) for n in range(6)])
        np.testing.assert_array_equal(known[:, 0], np.flatnonzero(found))
        assert found.tolist() == [True, True, False, False, True, True]


def test_only_what_is_unknown_is_encoded_and_only_once(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path, "rubert", SIZE)
    fill(cache, range(2))
    numbers = [3, 0, 3, 1, 2, 3]
    asked: list[int] = []

    def encode(rows: np.ndarray) -> FloatArray:
        asked.extend(numbers[row] for row in rows)
        return np.stack([vector(numbers[row]) for row in rows])

    vectors = cached_encode(cache, [key(n) for n in numbers], encode, chunk=1)
    np.testing.assert_array_equal(vectors[:, 0], numbers)
    assert asked == [3, 2]
    np.testing.assert_array_equal(cached_encode(cache, [key(n) for n in numbers], encode), vectors)
    assert asked == [3, 2]


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    hashes = [key(n) for n in range(10)]
    asked: list[int] = []

    def encode(rows: np.ndarray) -> FloatArray:
        if len(asked) == 6:
            raise KeyboardInterrupt
        asked.extend(rows)
        return np.stack([vector(row) for row in rows])

    with pytest.raises(KeyboardInterrupt):
        cached_encode(VectorCache(tmp_path, "rubert", SIZE), hashes, encode, chunk=2)
    asked[:] = [-1]
    vectors = cached_encode(VectorCache(tmp_path, "rubert", SIZE), hashes, encode, chunk=2)
    np.testing.assert_array_equal(vectors[:, 0], np.arange(10))
    assert asked == [-1, 6, 7, 8, 9]


class Brightness:
    """A picture encoder that counts what it is shown."""

    size = 2
    identity = "brightness"
    shown = 0

    def encode(self, pictures: list[Image.Image]) -> FloatArray:
        self.shown += len(pictures)
        light = np.asarray([np.asarray(picture).mean() for picture in pictures]) / 255
        return np.stack([light, 1 - light], 1).astype(np.float32)


def test_pictures_are_opened_once_and_the_broken_reported_each_time(tmp_path: Path) -> None:
    paths: list[Path | None] = [None]
    for light in (0, 255, 51):
        paths.append(tmp_path / f"{light}.png")
        Image.new("L", (4, 4), light).save(paths[-1])
    paths.insert(2, tmp_path / "broken.png")
    paths[2].write_bytes(b"\x89PNG\r\n\x1a\n")
    hashes = [path and picture_hash(path) for path in paths]
    encoder = Brightness()
    for _ in range(2):
        cache = VectorCache(tmp_path, encoder.identity, encoder.size)
        vectors, failures = cached_pictures(encoder, paths, hashes, cache)
        assert vectors.any(axis=1).tolist() == [False, True, False, True, True]
        np.testing.assert_allclose(vectors[[1, 3, 4], 0], [0, 1, 0.2], atol=1e-6)
        assert list(failures) == [2]
    assert encoder.shown == 3
