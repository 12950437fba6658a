"""How much goes into one request: as many as a server allows, as many bytes as a proxy takes, fewer if refused."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from rubrika.store.base import FloatArray
from rubrika.store.faults import TooLargeError

Item = TypeVar("Item")
Result = TypeVar("Result")

# nginx refuses a body of more than 1 MiB, unless told otherwise.
MAX_BYTES = 1_000_000
# A number of a vector in JSON, such as -0.012345678901234567, with its comma; in gRPC.
JSON_NUMBER, GRPC_NUMBER = 23, 4
# The names and brackets around a point.
FRAME = 100


class Batches:
    """Sends items in requests of at most `most`; what is refused as too large goes in halves, and so do those after."""

    def __init__(self, most: int) -> None:
        self.most = most

    def send(
        self, items: Sequence[Item], request: Callable[[Sequence[Item]], Result], bytes_of: Sequence[int] | None = None
    ) -> Iterator[Result]:
        """What each request answers, in the order of the items; `bytes_of` them make requests smaller, where known."""
        start = 0
        while start < len(items):
            end = self._end(start, len(items), bytes_of)
            try:
                answer = request(items[start:end])
            except TooLargeError:
                if end - start == 1:
                    raise
                self.most = min(self.most, (end - start) // 2)
                continue
            start = end
            yield answer

    def _end(self, start: int, total: int, bytes_of: Sequence[int] | None) -> int:
        end, size = min(start + self.most, total), 0
        for place in range(start, end) if bytes_of is not None else ():
            size += bytes_of[place]  # type: ignore[index]
            if size > MAX_BYTES and place > start:
                return place
        return end


def vectors_bytes(vectors: Mapping[str, FloatArray], is_grpc: bool) -> int:
    """About how many bytes vectors take in a request."""
    return sum(len(row) for row in vectors.values()) * (GRPC_NUMBER if is_grpc else JSON_NUMBER)


def payload_bytes(payload: Mapping[str, Any]) -> int:
    """About how many bytes a payload takes in a request, with the frame of its point."""
    return len(json.dumps(payload, ensure_ascii=False, default=str).encode()) + FRAME
