"""Certificates made by the `openssl` command: an authority, a server of this machine, a client, and a stranger."""

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc as wire
import pytest

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Certificates:
    """Files in PEM, in one folder."""

    folder: Path

    def file(self, name: str) -> Path:
        return self.folder / name

    def for_http(self, client_wanted: bool = False) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file("server.pem"), self.file("server.key"))
        if client_wanted:
            context.load_verify_locations(self.file("authority.pem"))
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def for_grpc(self, client_wanted: bool = False) -> wire.ServerCredentials:
        pair = self.file("server.key").read_bytes(), self.file("server.pem").read_bytes()
        authority = self.file("authority.pem").read_bytes() if client_wanted else None
        return wire.ssl_server_credentials([pair], authority, client_wanted)


def make(folder: Path) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("certificates cannot be made: there is no openssl command")
    folder.mkdir(exist_ok=True)
    for name in ("authority", "stranger"):
        openssl(folder, "req", "-x509", *KEY, "-subj", f"/CN={name}", "-days", "30", *pair(name))
    for name in ("server", "client"):
        asked, told = f"{name}.csr", f"{name}.ext"
        names = "subjectAltName=IP:127.0.0.1,DNS:localhost\nauthorityKeyIdentifier=keyid\n"
        (folder / told).write_text(names, encoding="utf-8")
        openssl(folder, "req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", asked)
        signed = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "30")
        openssl(folder, "x509", "-req", "-in", asked, "-extfile", told, *signed, "-out", f"{name}.pem")
    return Certificates(folder)


def pair(name: str) -> tuple[str, ...]:
    return "-keyout", f"{name}.key", "-out", f"{name}.pem"


def openssl(folder: Path, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
