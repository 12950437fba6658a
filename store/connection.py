"""Where a Qdrant server is, and how vectors are laid out and searched: plain settings, without the client."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from rubrika.errors import StoreError

Quantisation = Literal["none", "int8", "turbo"]

HTTP_PORT, GRPC_PORT = 6333, 6334
# Of both stores: how many times `top_k` points are rescored by their full vectors, and which part of the values 8 bits
# tell apart, the few beyond being cut. docs/performance.md has what that finds.
OVERSAMPLING, QUANTILE = 32.0, 0.98
# Of both stores: from so many points on a graph is searched, as a scan of them takes too long, with so many candidates:
# among near duplicates it gets lost where it keeps fewer. `optimise` measures what it finds, and docs/performance.md
# and docs/scaling.md have the figures.
GRAPH_FROM, GRAPH_EFFORT = 500_000, 1_024
# Of a server's graph: links of a point, and candidates weighed for each of them.
GRAPH_LINKS, EF_CONSTRUCT = 16, 100


@dataclass(frozen=True, slots=True)
class Transport:
    """How servers are reached: whom TLS trusts, who we are to it, and what the environment allows besides."""

    ca_cert: Path | None = None  # certificates of the authorities to trust, in PEM; None: those that everybody trusts
    client_cert: Path | None = None  # ours, where a server wants to see one, …
    client_key: Path | None = None  # … and its private key, without a password
    allow_http: bool = False  # a key may cross this network in the clear
    grpc_port: int | None = None  # where the server speaks gRPC, if not where it usually does

    @classmethod
    def of(cls, environment: Mapping[str, str], ca_cert: Path | None = None) -> "Transport":
        """As the environment says, but for authorities named by `ca_cert`."""
        given = {name: environment.get(f"QDRANT_{name}") for name in ("CA_CERT", "CLIENT_CERT", "CLIENT_KEY")}
        files = [Path(file).expanduser() if file else None for file in given.values()]
        port = environment.get("QDRANT_GRPC_PORT") or None
        if port is not None and not (port.isdecimal() and 0 < int(port) < 65_536):
            raise StoreError("QDRANT_GRPC_PORT is not a port; it is a number from 1 to 65535")
        if bool(files[1]) != bool(files[2]):
            raise StoreError("QDRANT_CLIENT_CERT and QDRANT_CLIENT_KEY go together; set both or none of them")
        allowed = environment.get("QDRANT_ALLOW_HTTP", "") not in ("", "0")
        return cls(ca_cert or files[0], files[1], files[2], allowed, int(port) if port else None)


@dataclass(frozen=True, slots=True)
class Connection:
    """A collection on a server; the key shows in no repr and in no message."""

    url: str  # `https://host:6333`, or `http://` for this machine
    collection: str  # a collection, or an alias of one
    api_key: str | None = field(default=None, repr=False)  # the server's key, if it wants one
    timeout: float = 30.0  # seconds to wait for one answer
    grpc_port: int | None = None  # where the server speaks gRPC; by default 6334 when the url says 6333, else nowhere
    # Nobody named the collection, so an index on this server keeps its own.
    assumed: bool = field(default=False, repr=False, compare=False)
    # The collection itself is called so; else the name of a new one becomes an alias, see `index.versions`.
    fixed: bool = field(default=False, repr=False, compare=False)
    # An empty collection that says of nobody that it is theirs may be taken up, though it cannot be marked as ours.
    adopt: bool = field(default=False, repr=False, compare=False)
    transport: Transport = field(default=Transport(), repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = _split(self.url)
        if not self.collection:
            raise StoreError(f"{self.server}: no collection is named; name one as `collection`")
        if self.api_key and not (self.api_key.isascii() and self.api_key.isprintable()):
            raise StoreError(f"{self.server}: the API key has characters that no key has; copy it again")
        if self.api_key and parts.scheme == "http" and not (self.is_loopback or self.transport.allow_http):
            clear = "the API key would cross the network in the clear"
            advice = "use https://, or QDRANT_ALLOW_HTTP=1 in a network that you trust"
            raise StoreError(f"{self.server}: {clear}; {advice}")

    @property
    def server(self) -> str:
        """The server as messages name it: scheme, host and port."""
        parts = _split(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}:{parts.port or HTTP_PORT}"

    def is_on(self, url: str) -> bool:
        """Whether this is the server of a url; one host may have several, under other paths."""
        return _address(self.url) == _address(url)

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        host = _split(self.url).hostname or ""
        try:
            return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def address(self) -> tuple[str, int]:
        """Where the server answers HTTP."""
        parts = _split(self.url)
        return parts.hostname or "", parts.port or HTTP_PORT

    @property
    def is_tls(self) -> bool:
        """Whether the url says that the server speaks TLS."""
        return _split(self.url).scheme == "https"

    @property
    def grpc_address(self) -> tuple[str, int] | None:
        """Where the server may answer gRPC."""
        parts = _split(self.url)
        usual = GRPC_PORT if (parts.port or HTTP_PORT) == HTTP_PORT else None
        port = self.grpc_port or self.transport.grpc_port or usual
        return (parts.hostname or "", port) if port else None


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a collection on a server is searched, whatever its layout; an index keeps it in its manifest."""

    hnsw_ef: int | None = None  # candidates kept while walking the HNSW graph; None begins with GRAPH_EFFORT
    oversampling: float = OVERSAMPLING  # how many times `top_k` points are rescored, where vectors are quantised


@dataclass(frozen=True, slots=True)
class Recall:
    """How one named vector is searched, and what part of the ten nearest, by score, that found when it was measured."""

    hnsw_ef: int | None = None  # candidates kept while walking a graph; None is the store's default
    oversampling: float | None = OVERSAMPLING  # None: by the full vectors, not by the quantised ones
    reached: float | None = None  # None: not measured, because the server allows no exact search
    products: int = 0  # how many stored products it was measured with


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a collection is laid out and searched; None: as it is already, and for a new one by default.

    docs/scaling.md says when to change what. By default vectors are scanned in 8 bits and the best rescored by the full
    ones; from `GRAPH_FROM` points on the server makes a graph at `optimise`, as the embedded store does.
    """

    shards: int | None = None  # parts that a cluster spreads over its nodes; by default what the server says
    replicas: int | None = None  # copies of each part
    write_consistency: int | None = None  # how many copies must have a write before it counts as done
    on_disk: bool = False  # full vectors on disk, read only to rescore; the quantised ones stay in memory
    quantisation: Quantisation | None = None  # `int8`: a quarter of the memory; `turbo` (TurboQuant, 4 bits): an eighth
    hnsw_m: int | None = None  # links of a point in the HNSW graph; 0 makes no graph and scans
    ef_construct: int | None = None  # candidates weighed for each link when the graph is built
    graph_from: int | None = None  # from how many points on; by default at once where `hnsw_m` is given
    hnsw_ef: int | None = None  # candidates kept while walking the graph
    oversampling: float | None = None  # how many times `top_k` points are rescored, where vectors are quantised

    @property
    def graph(self) -> tuple[int, int]:
        """From how many points on a new collection gets a graph, and its links; 0 links: never."""
        start = GRAPH_FROM if self.hnsw_m is None else 0
        return (
            start if self.graph_from is None else self.graph_from,
            GRAPH_LINKS if self.hnsw_m is None else self.hnsw_m,
        )

    @property
    def search(self) -> SearchOptions:
        """How a new collection is searched."""
        return self.search_over(SearchOptions())

    def search_over(self, known: SearchOptions) -> SearchOptions:
        """How a collection is searched that was searched as `known`: an option that is not given stays as it was."""
        effort = known.hnsw_ef if self.hnsw_ef is None else self.hnsw_ef
        return SearchOptions(effort, known.oversampling if self.oversampling is None else self.oversampling)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        # It is shown in messages, and an index may have brought it.
        usable = usable and url.isprintable()
    except ValueError:
        usable = False
    # The url itself is not repeated: it may hold the very password that makes it unusable.
    if not usable:
        raise StoreError("the server's url is not one; write it like http://127.0.0.1:6333")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise StoreError("the server's url holds a password or a query; give the key as QDRANT_API_KEY instead")
    return parts


def _address(url: str) -> tuple[str, str | None, int, str]:
    parts = _split(url)
    return parts.scheme, parts.hostname, parts.port or HTTP_PORT, parts.path.rstrip("/")
