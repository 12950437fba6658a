"""Several requests to a server under way at once, so that its distance costs little; answers keep their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], streams: int) -> Iterator[Result]:
    """The results of work on items, in their order, with at most so many under way; with one, in this thread.

    Items are taken in this thread, no more than are under way. After a failure, or when nobody wants more results, what
    waits is not begun.
    """
    if streams <= 1:
        yield from map(work, items)
        return
    pool, waiting = ThreadPoolExecutor(streams), deque[Future[Result]]()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= streams:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def ahead(items: Iterable[Item], streams: int) -> Iterator[Item]:
    """The same items, each being made, in another thread, while the one before is worked on; with one stream, here."""
    if streams <= 1:
        yield from items
        return
    source, end = iter(items), object()
    # One thread takes all items, one after another: a generator is not for two.
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, source, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, source, end)
            yield item  # type: ignore[misc]
