"""What a real server's keys allow and its limits refuse, and in which words: both stand-ins hold to it.

The words were read from Qdrant 1.18; the points are in the client's memory mode.
"""

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from qdrant_client import QdrantClient, models

Json = dict[str, Any]
# HTTP status by gRPC code.
STATUS = {
    "NOT_FOUND": 404,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "INVALID_ARGUMENT": 400,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
}
SHORT = (
    "Service internal error: 4 out of 6 shards failed to apply operation. First error captured: Service internal "
    "error: The replica set for shard 1 on peer 7 does not have enough active replicas"
)
FULL_DISK = (
    "Service runtime error: Not enough space available for optimization, needed: 187.48 MiB, available: 72.07 MiB"
)
NO_SCAN = (
    "Bad request: Request is forbidden on '{}' because global vector indexing is disabled (hnsw_config.m = 0). Help: "
    "Use tenant-specific filter, enable global vector indexing or enable strict mode `search_allow_exact` option"
)
NO_EXACT = "Bad request: Exact search disabled!. Help: Set exact=false."


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that is no result."""

    def __init__(self, code: str, text: str, retry_after: int | None = None) -> None:
        super().__init__(text)
        self.code, self.text, self.retry_after = code, text, retry_after

    @property
    def status(self) -> int:
        return STATUS[self.code]


@dataclass(frozen=True)
class Asked:
    """What a request is about."""

    action: str  # read, write (points or payload indexes), manage (collections, aliases), or greet
    collection: str | None = None
    cost: int = 0  # what it takes of a rate
    limits: dict[str, float | None] = field(default_factory=dict)  # by the names that a refusal has
    exact: bool = False
    vector: str | None = None  # that is searched


# What strict mode calls the limits that its refusals name otherwise.
LIMITS = {
    "limit": "max_query_limit",
    "upsert limit": "upsert_max_batchsize",
    "search batch size": "search_max_batchsize",
    "oversampling": "search_max_oversampling",
    "hnsw_ef": "search_max_hnsw_ef",
}


class Rules:
    """Collections in memory, and who may do what with them.

    Attributes:
        api_key: the key that may do everything; None: no key is needed.
        read_only_key: a key that may only read.
        tokens: keys for one collection, with its name and `r` or `rw`.
        strict: limits of strict mode, by their names in a collection's configuration.
        minute: how many seconds a rate of strict mode is for.
        short: how many of the next writes find too few replicas.
        full: whether the disk is full, so that optimising fails.
        body_limit: how many bytes a proxy lets through.
        created: how each collection was to be laid out, by name.
        layouts: what has become of that, as its configuration says it.
    """

    def __init__(
        self, api_key: str | None = None, read_only_key: str | None = None, client: QdrantClient | None = None
    ) -> None:
        self.client = client or QdrantClient(":memory:")
        self.lock = threading.RLock()
        self.api_key, self.read_only_key = api_key, read_only_key
        self.tokens: dict[str, tuple[str, str]] = {}
        self.strict: Json = {}
        self.minute, self.short, self.full = 60.0, 0, False
        self.body_limit: int | None = None
        self.created: dict[str, Json] = {}
        self.layouts: dict[str, Json] = {}
        self.indexes: dict[str, dict[str, str]] = {}
        self.left: dict[str, tuple[float, float]] = {}

    def admit(self, key: str | None, asked: Asked) -> None:
        """Refuse what this key may not do, or nobody now."""
        if asked.action != "greet":
            self.check_key(key, asked)
        self.check_limits(asked)
        if asked.action == "write" and self.short > 0:
            self.short -= 1
            raise Refused("INTERNAL", SHORT)
        self.take(asked)

    def check_key(self, key: str | None, asked: Asked) -> None:
        if self.api_key is None or key == self.api_key:
            return
        if key == self.read_only_key and key is not None:
            if asked.action != "read":
                raise Refused("PERMISSION_DENIED", "Forbidden: Global manage access is required")
        elif key in self.tokens:
            name, access = self.tokens[key]
            if asked.action == "manage" or (asked.collection is None and asked.action != "list"):
                raise Refused("PERMISSION_DENIED", "Forbidden: Global access is required")
            if asked.collection not in (None, name):
                raise Refused("PERMISSION_DENIED", f"Forbidden: Access to collection {asked.collection} is required")
            if asked.action == "write" and access != "rw":
                raise Refused("PERMISSION_DENIED", f"Forbidden: Write access to collection {name} is required")
        else:
            raise Refused("UNAUTHENTICATED", "Invalid API key or JWT")

    def aliases(self, key: str | None) -> models.CollectionsAliasesResponse:
        """The aliases that a key knows of."""
        found = self.client.get_aliases().aliases
        seen = [each for each in found if key not in self.tokens or each.collection_name == self.tokens[key][0]]
        return models.CollectionsAliasesResponse(aliases=seen)

    def check_limits(self, asked: Asked) -> None:
        for name, value in asked.limits.items():
            most = self.strict.get(LIMITS[name])
            if most is not None and value is not None and value > most:
                advice = f'Help: Reduce the "{name}" parameter to or below {most}.'
                raise Refused(
                    "INVALID_ARGUMENT", f'Bad request: Limit exceeded {value} > {most} for "{name}". {advice}'
                )
        if self.strict.get("search_allow_exact") is False:
            if asked.exact:
                raise Refused("INVALID_ARGUMENT", NO_EXACT)
            if asked.vector and not self.layout(str(asked.collection)).get("hnsw_config", {}).get("m", 16):
                raise Refused("INVALID_ARGUMENT", NO_SCAN.format(asked.vector))

    def take(self, asked: Asked) -> None:
        """Take the cost of a request from its rate."""
        kind = asked.action
        most = self.strict.get(f"{kind}_rate_limit")
        if most is None or not asked.cost:
            return
        said = f"Rate limiting exceeded: {kind.title()} rate limit exceeded"
        if asked.cost > most:
            larger = "request larger than rate limiter capacity, please try to split your request"
            raise Refused("RESOURCE_EXHAUSTED", f"{said}, {larger}")
        now = time.monotonic()
        left, since = self.left.get(kind, (float(most), now))
        left = min(most, left + (now - since) * most / self.minute)
        if asked.cost > left:
            wait = max(1, math.ceil((asked.cost - left) * self.minute / most))
            self.left[kind] = left, now
            needs = f"Operation requires {asked.cost} tokens but only {left:.1f} were available. Retry after {wait}s"
            raise Refused("RESOURCE_EXHAUSTED", f"{said}: {needs}", wait)
        self.left[kind] = left - asked.cost, now

    def real_name(self, name: str) -> str:
        """The collection that a name or an alias means."""
        return {it.alias_name: it.collection_name for it in self.client.get_aliases().aliases}.get(name, name)

    def layout(self, name: str) -> Json:
        return self.layouts.get(self.real_name(name), {})

    def change(self, name: str, changed: Json) -> None:
        """Change parts of a layout."""
        layout = self.layouts.setdefault(self.real_name(name), {})
        limits = changed.get("strict_mode_config") or {}
        self.strict = {key: value for key, value in limits.items() if key != "enabled"} or self.strict
        for part in ("hnsw_config", "optimizers_config"):
            if changed.get(part):
                layout[part] = (layout.get(part) or {}) | changed[part]

    def info(self, name: str) -> models.CollectionInfo:
        """What is said of a collection."""
        try:
            info = self.client.get_collection(name)
        except ValueError:
            raise Refused("NOT_FOUND", f"Not found: Collection `{name}` doesn't exist!") from None
        config = info.config
        # The memory mode knows no layouts.
        config.hnsw_config.m = 0
        for part, value in self.layout(name).items():
            lay_out(config, part, value)
        for key, value in self.indexes.get(self.real_name(name), {}).items():
            info.payload_schema[key] = models.PayloadIndexInfo(data_type=value, points=0)
        if self.strict:
            config.strict_mode_config = models.StrictModeConfigOutput(enabled=True, **self.strict)
        if self.full and config.optimizer_config.indexing_threshold:
            info.status = models.CollectionStatus.RED
            info.optimizer_status = models.OptimizersStatusOneOf1(error=FULL_DISK)
        return info


def lay_out(config: models.CollectionConfig, part: str, value: Any) -> None:  # noqa: ANN401 - of JSON
    """Have a collection's configuration say what it was laid out with."""
    if part == "hnsw_config":
        config.hnsw_config = config.hnsw_config.model_copy(update=value)
    elif part == "optimizers_config" and value:
        config.optimizer_config = config.optimizer_config.model_copy(update=value)
    elif part == "quantization_config" and value:
        config.quantization_config = (
            models.TurboQuantization.model_validate(value)
            if "turbo" in value
            else models.ScalarQuantization.model_validate(value)
        )
    elif part in ("shard_number", "replication_factor", "write_consistency_factor") and value:
        setattr(config.params, part, value)
