"""TLS to a server: whom it trusts and who we are; and what a server speaks that does not answer as its url says."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path

import httpx

from rubrika.errors import StoreError
from rubrika.store.connection import Connection, Transport

PROBE_SECONDS = 2.0
# What an HTTP/2 server is greeted with, an empty frame of settings after it; it answers with a frame of that type.
PREFACE, SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 4


def context_of(transport: Transport, trust_env: bool = True) -> ssl.SSLContext:
    """What HTTP over TLS trusts and shows; StoreError when a file that is named cannot be used."""
    ca, cert, key = transport.ca_cert, transport.client_cert, transport.client_key
    for file in (ca, cert, key):
        if file is not None:
            _read(file)
    try:
        context = ssl.create_default_context(cafile=ca) if ca else httpx.create_ssl_context(trust_env=trust_env)
    except ssl.SSLError:
        raise StoreError(f"{ca}: no certificate can be read there; `ca_cert` is a file in PEM") from None
    try:
        if cert and key:
            # Without this, OpenSSL asks the terminal for the password of a key that has one.
            context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError:
        pair = "not a certificate and its private key in PEM, without a password"
        raise StoreError(f"{cert}, {key}: {pair}; correct QDRANT_CLIENT_CERT and QDRANT_CLIENT_KEY") from None
    return context


def grpc_files(transport: Transport) -> dict[str, bytes]:
    """The same for gRPC, by the names of its options."""
    files = {"root_certificates": transport.ca_cert, "certificate_chain": transport.client_cert}
    files |= {"private_key": transport.client_key}
    return {name: _read(file) for name, file in files.items() if file is not None}


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise StoreError(f"{file}: cannot be read ({error.strerror}); name a file with a certificate or key") from None


def trouble(connection: Connection, reason: str) -> str:
    """Why no answer came from a server, and what to do: by the reason of the network, or by asking its port anew."""
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        why = reason.partition("certificate verify failed: ")[2].partition(" (_ssl")[0] or "it cannot be verified"
        return f"its certificate is not trusted ({why}); name its authority's as `ca_cert` or QDRANT_CA_CERT"
    if "CERTIFICATE_REQUIRED" in reason or "ALERT_HANDSHAKE_FAILURE" in reason or "BAD_CERTIFICATE" in reason:
        return f"it wants another certificate of yours ({reason}); set QDRANT_CLIENT_CERT and QDRANT_CLIENT_KEY"
    plain, secure = (_asked(connection.address, is_tls) for is_tls in (False, True))
    if any(answer and answer[3:4] == bytes([SETTINGS]) for answer in (plain, secure)):
        return "this is its gRPC port; give the one for HTTP as url, 6333 unless it is set otherwise"
    if not connection.is_tls and secure is not None:
        return "it speaks TLS; write https:// in the url"
    if connection.is_tls and secure is None and (plain or "WRONG_VERSION_NUMBER" in reason):
        return "it speaks plain HTTP, not TLS; write http:// in the url"
    return f"no server answers ({reason}); start it, or correct the url"


def _asked(address: tuple[str, int], is_tls: bool) -> bytes | None:
    """The first bytes that a port answers to the greeting of HTTP/2; None: it does not speak TLS, or is closed."""
    with suppress(OSError), socket.create_connection(address, timeout=PROBE_SECONDS) as raw:
        if not is_tls:
            raw.sendall(PREFACE)
            return raw.recv(64)
        # Only to see what it speaks: nothing is told to it, and nothing believed.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(raw, server_hostname=address[0]) as wrapped:
            with suppress(OSError):
                wrapped.sendall(PREFACE)
                return wrapped.recv(64)
            return b""
    return None
