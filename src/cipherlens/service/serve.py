"""Run the application with uvicorn: TLS, client certificates, and loopback only without them."""

import ssl

import uvicorn
from fastapi import FastAPI

from cipherlens.errors import UsageError
from cipherlens.service.place import Place

_GRACE_SECONDS = 60
"""How long accepted requests may take when the server is told to stop. Chosen by hand."""
_CONNECTIONS = 1024
"""Connections at a time; more are answered 503. A limit on memory."""


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
        ssl_certfile=place.tls_cert,
        ssl_keyfile=place.tls_key,
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
