"""Run the application with uvicorn: TLS, client certificates, and loopback only without them."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from cipherlens.errors import UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_GRACE_SECONDS = 60
"""How long accepted requests may take when the server is told to stop. Chosen by hand."""

_CONNECTIONS = 1024
"""Connections at a time; more are answered 503. A limit on memory."""


@dataclass(frozen=True)
class Place:
    """Where to listen. ``certificate`` and ``private_key`` are for TLS, ``client_ca`` for clients' certificates.

    Raises UsageError for half of a pair, and for another place than loopback without TLS, unless
    ``plain_http_to_others`` says so.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    private_key: Path | None = None
    client_ca: Path | None = None
    plain_http_to_others: bool = False

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.private_key is None):
            raise UsageError(
                "TLS needs a certificate and its key", hint="give both", parameters=("tls_cert", "tls_key")
            )
        if self.client_ca is not None and self.certificate is None:
            raise UsageError("clients' certificates need TLS", hint="give both", parameters=("tls_cert", "tls_key"))
        if not 1 <= self.port <= 65_535:
            raise UsageError(f"there is no port {self.port}", hint="ports are 1 to 65535", parameters=("port",))
        for file in (self.certificate, self.private_key, self.client_ca):
            if file is not None and not file.is_file():
                raise UsageError(f"there is no file {file}", hint="check its name")
        if self.certificate is None and self.host not in LOOPBACK and not self.plain_http_to_others:
            raise UsageError(
                f"without TLS everybody on the way to {self.host} could read tokens and answers",
                hint="give a certificate, or listen on 127.0.0.1 behind a proxy",
                parameters=("tls_cert", "tls_key"),
            )

    @property
    def url(self) -> str:
        """The server's address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.certificate is None else 'https'}://{host}:{self.port}"


def serve(app: FastAPI, place: Place) -> None:
    """Serve until SIGTERM or an interrupt; requests that were accepted are answered first.

    Raises UsageError where the place is taken, or a certificate cannot be read.
    """
    config = uvicorn.Config(
        app,
        host=place.host,
        port=place.port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=place.certificate,
        ssl_keyfile=place.private_key,
        ssl_ca_certs=None if place.client_ca is None else str(place.client_ca),
        ssl_cert_reqs=ssl.CERT_NONE if place.client_ca is None else ssl.CERT_REQUIRED,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"the certificate cannot be used: {error}", hint="check certificate and key") from None
    try:
        server = uvicorn.Server(config)
        server.run()
    except SystemExit:  # uvicorn's way to say that the port is taken
        raise UsageError(f"cannot listen on {place.url}", hint="choose another port") from None
    if not server.started:
        raise UsageError(f"cannot listen on {place.url}", hint="choose another port")
