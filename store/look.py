"""A look at a server before hours of work: what it is, what its key may do, its limits, and what stands in the way."""

import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import partial
from socket import create_connection
from typing import Any

from qdrant_client import QdrantClient, models

from rubrika.errors import StoreError
from rubrika.store import collection
from rubrika.store.client import connect, is_grpc
from rubrika.store.connection import Connection
from rubrika.store.faults import ForbiddenError, NoCollectionError, RefusedError, RetryingClient, RetryPolicy
from rubrika.store.server import ServerStore
from rubrika.store.tls import PROBE_SECONDS, context_of

PINGS, FAR_MS = 5, 20.0
KIB, GB = 1_024, 1e9
# How a scan, and what must be measured, depend on a limit.
NO_EXACT = "products are found by a graph alone, and how well cannot be measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a server or a collection."""

    name: str
    value: str
    advice: str = ""  # what to do about it
    is_fault: bool = False  # work would fail, or answers suffer, until that is done


@dataclass(frozen=True, slots=True)
class Look:
    """What was found, in the order of its reading."""

    url: str
    collection: str
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> list[str]:
        """What has to be seen to."""
        return [f"{each.name}: {each.value}; {each.advice}" for each in self.findings if each.is_fault]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `rubrika check --json` prints them."""
        return {"url": self.url, "collection": self.collection, "findings": [asdict(it) for it in self.findings]}


class _Asked:
    """A server that is asked once for each thing, and may refuse to tell it."""

    def __init__(self, connection: Connection) -> None:
        self.connection, self.name = connection, connection.collection
        self.client: QdrantClient = connect(connection)
        self._call = RetryingClient(connection, RetryPolicy(tries=1))

    def close(self) -> None:
        self.client.close()

    def of_server(self, method: Callable[..., Any], *given: object) -> Any:  # noqa: ANN401 - whatever it tells
        return self._call(partial(method, *given))

    def of_collection(self, method: Callable[..., Any], **given: object) -> Any:  # noqa: ANN401
        return self._call(partial(method, self.name, **given))

    def told(self, method: Callable[..., Any], *given: object) -> Any:  # noqa: ANN401
        """The same, or None where the server does not tell it to this key."""
        with suppress(StoreError):
            return self.of_server(method, *given)

    def info(self) -> models.CollectionInfo | None:
        """What it says of the collection; None: there is none."""
        try:
            found: models.CollectionInfo = self.of_collection(self.client.get_collection)
        except NoCollectionError:
            return None
        return found

    # A request that changes nothing needs the same rights as one that does.

    def cannot_manage(self) -> str | None:
        """Why the key may not make and change collections, or None."""
        return self._refusal(partial(self.of_server, self.client.update_collection_aliases, []))

    def cannot_write(self) -> str | None:
        """Why it may not write points of the collection, or None."""
        return self._refusal(partial(self.of_collection, self.client.delete, points_selector=[], wait=True))

    @staticmethod
    def _refusal(request: Callable[[], object]) -> str | None:
        try:
            request()
        except ForbiddenError as error:
            return error.reason
        except RefusedError:
            # The key was good enough to be told that nothing is asked for.
            return None
        return None


def may_make(connection: Connection) -> bool:
    """Whether the key may make collections and aliases there."""
    with closing(_Asked(connection)) as asked:
        return asked.cannot_manage() is None


def check_ready(connection: Connection, is_temporary: bool = False) -> None:
    """Refuse, before anything is learned, a server or collection that a new index cannot go to.

    A collection that is `is_temporary` has yet to get its name.
    """
    with closing(_Asked(connection)) as asked:
        info = None if is_temporary else asked.info()
        if info is None:
            # An answer without a key does not show that the key is known.
            asked.of_server(asked.client.get_aliases)
            if reason := asked.cannot_manage():
                raise _unusable(connection, f"this API key may not make collections ({reason})", _named(is_temporary))
            return
        if reason := collection.failure(info):
            raise _unusable(connection, f"it is red ({reason})", "see to that first")
        if asked.of_collection(asked.client.scroll, limit=1, with_payload=False)[0]:
            whose = "products of another index" if collection.is_ours(info) else "points that Rubrika did not write"
            raise _unusable(connection, f"it holds {whose}", "choose another `collection`")
        if reason := asked.cannot_write():
            raise _unusable(connection, f"this API key may not write there ({reason})", "use one that may")


def _named(is_temporary: bool) -> str:
    return "use one that may" if is_temporary else "have an empty one made for you, or use a key that may"


def _unusable(connection: Connection, why: str, advice: str) -> StoreError:
    return StoreError(f"collection «{connection.collection}» on {connection.server}: {why}; {advice}")


def look_at(connection: Connection) -> Look:
    """Look at a server and a collection; StoreError when it does not answer, or does not know the key."""
    with closing(_Asked(connection)) as asked:
        findings = [*_server(asked), *_machines(asked)]
        # Whoever may not even ask for it is told so.
        info = asked.info()
        findings += _rights(asked, info)
        if info is None:
            advice = "`rubrika ingest` or `rubrika push` makes it"
            findings.append(Finding("collection", f"«{connection.collection}» is not there", advice))
        else:
            findings += [*_limits(info), *_layout(asked, info), *_state(asked, info)]
    if info is not None and collection.is_ours(info):
        findings += _recall(connection)
    return Look(connection.server, connection.collection, tuple(findings))


def _server(asked: _Asked) -> Iterator[Finding]:
    times = []
    for _ in range(PINGS):
        started = time.perf_counter()
        version = asked.of_server(asked.client.info).version
        times.append(1000 * (time.perf_counter() - started))
    yield Finding("version", version)
    took, spoken = statistics.median(times), is_grpc(asked.client)
    advice = "" if spoken else "gRPC is quicker: open its port, 6334, or name it as QDRANT_GRPC_PORT"
    far = "it is far away: work near it where you can" if took > FAR_MS else ""
    yield Finding("transport", f"{'gRPC' if spoken else 'HTTP'}, {took:.1f} ms there and back", far or advice)
    if not asked.connection.is_tls:
        here = asked.connection.is_loopback
        yield Finding("TLS", "none", "" if here else "whoever is on the way reads along; use https:// where there is")
        return
    with suppress(OSError), create_connection(asked.connection.address, timeout=PROBE_SECONDS) as raw:
        context, host = context_of(asked.connection.transport), asked.connection.address[0]
        with context.wrap_socket(raw, server_hostname=host) as secure:
            ends = dict(secure.getpeercert() or {}).get("notAfter", "")
            days = (ssl.cert_time_to_seconds(str(ends)) - time.time()) / 86_400
            advice = "have it renewed" if days < 14 else ""
            yield Finding("TLS", f"{secure.version()}, its certificate ends in {days:.0f} days", advice)


def _machines(asked: _Asked) -> Iterator[Finding]:
    cluster = asked.told(asked.client.cluster_status)
    if peers := getattr(cluster, "peers", None):
        failing = getattr(cluster, "message_send_failures", None) or {}
        advice = f"{len(failing)} do not answer: see to them" if failing else ""
        yield Finding("nodes", f"{len(peers)}", advice, bool(failing))
    elif cluster is not None:
        yield Finding("nodes", "1, not a cluster")
    request = partial(asked.client.http.client.request, type_=dict[str, Any], method="GET", url="/telemetry")
    telemetry = asked.told(partial(request, params={"details_level": "1"})) or {}
    found: dict[str, Any] = telemetry.get("result") or {}
    system = (found.get("app") or {}).get("system") or {}
    used = (found.get("memory") or {}).get("resident_bytes")
    if ram := system.get("ram_size"):
        taken = f", {used / GB:.1f} of it in use" if used else ""
        yield Finding("memory", f"{ram * KIB / GB:.1f} GB{taken}")
    if disk := system.get("disk_size"):
        yield Finding("disk", f"{disk * KIB / GB:.1f} GB in all")


def _rights(asked: _Asked, info: models.CollectionInfo | None) -> Iterator[Finding]:
    reason = asked.cannot_manage()
    if reason is None:
        has_key = asked.connection.api_key is not None
        advice = "" if has_key or asked.connection.is_loopback else "no key is wanted: whoever reaches it may do all"
        yield Finding("key", "may do everything", advice)
        return
    refused = asked.cannot_write() if info is not None else reason
    if refused is None:
        advice = "`rubrika learn`, aliases and new collections need another key; all else works"
        yield Finding("key", f"may write in this collection, not make others ({reason})", advice)
    else:
        advice = "enough for classify, neighbours, explain, audit, evaluate --index, info and check"
        yield Finding("key", f"may only read ({refused})", advice)


def _limits(info: models.CollectionInfo) -> Iterator[Finding]:
    limits = collection.limits_of(info)
    stated = {name: value for name, value in limits.model_dump(exclude_none=True).items() if name != "enabled"}
    if not stated:
        yield Finding("limits", "none are stated")
        return
    advice = [NO_EXACT] if limits.search_allow_exact is False else []
    if limits.write_rate_limit:
        advice.append(f"100,000 products take {100_000 / limits.write_rate_limit:,.0f} minutes to write")
    shown = ", ".join(f"{name} {value}" for name, value in stated.items())
    scans = collection.forbids_scans(info)
    if scans:
        advice.append("it has no graph, so no search works: push into a new collection with `hnsw_m` 16")
    yield Finding("limits", shown, "; ".join(advice), scans)


def _layout(asked: _Asked, info: models.CollectionInfo) -> Iterator[Finding]:
    config, sizes = info.config, {name: each.size for name, each in collection.vectors_of(info).items()}
    ways = config.quantization_config
    quantised = next(iter(ways.model_dump(exclude_none=True)), "none") if ways else "none"
    graph = f"a graph of m = {config.hnsw_config.m}" if config.hnsw_config.m else "a scan"
    held = f"{info.points_count or 0:,} points, {collection.shapes(sizes)}, quantisation {quantised}, {graph}"
    ours = collection.is_ours(info)
    yield Finding("collection", held, "" if ours else "not made by Rubrika: it is only read, unless it is empty")
    copies, parts = config.params.replication_factor or 1, asked.told(asked.client.collection_cluster_info, asked.name)
    shards = [*parts.local_shards, *parts.remote_shards] if parts else []
    away = sum(str(getattr(each.state, "value", each.state)) != "Active" for each in shards)
    lost = f"{away} of them do not work: see to its nodes" if away else ""
    if shards:
        value = f"{copies} of each of {parts.shard_count} shards, {len(shards)} in all"
        one = "a lost node loses its part: push with `replicas` 2" if parts.remote_shards and copies == 1 else ""
        yield Finding("copies", value, lost or one, bool(away))


def _state(asked: _Asked, info: models.CollectionInfo) -> Iterator[Finding]:
    reason, threshold = collection.failure(info), info.config.optimizer_config.indexing_threshold
    if reason:
        yield Finding("state", f"red ({reason})", "see to that, then run the last ingest or push again", True)
    elif not threshold and info.points_count:
        advice = "a run was interrupted: run the same ingest or push again"
        yield Finding("state", "indexing is off, so searching is slow", advice, True)
    elif info.status != models.CollectionStatus.GREEN:
        yield Finding("state", f"{info.status.value}: indexing is not done", "searching is slower until it is")
    else:
        yield Finding("state", info.status.value)
    named = asked.told(asked.client.get_aliases)
    aliases = [each for each in named.aliases if asked.name in (each.alias_name, each.collection_name)] if named else []
    shown = ", ".join(f"{each.alias_name} → {each.collection_name}" for each in aliases)
    yield Finding("aliases", shown or "none")


def _recall(connection: Connection) -> Iterator[Finding]:
    with closing(ServerStore(connection)) as store:
        store.measure()
        for name, how in sorted(store.recall.items()):
            if how.reached is not None:
                advice = "" if how.reached >= 0.99 else "push with a higher `oversampling` or `hnsw_ef`"
                yield Finding(f"recall {name}", f"{how.reached:.4f} of the nearest 10", advice)
