"""Where a server listens; nothing here needs the packages of a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipherlens.errors import UsageError
from cipherlens.inference import LOOPBACK


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a server listens. :meth:`check` says whether that can be."""

    host: str = "127.0.0.1"
    """Address to listen on; another than loopback needs TLS."""
    port: int = 8000
    """Port to listen on."""
    tls_cert: Path | None = None
    """Certificate, as PEM."""
    tls_key: Path | None = None
    """Its private key, as PEM."""
    client_ca: Path | None = None
    """Take only clients whose certificate this authority has signed."""
    plain_http_to_others: bool = False
    """Listen beyond loopback without TLS: others on the way can read tokens and answers."""

    def check(self) -> None:
        """Raise UsageError for half of a pair, a missing file, or plain HTTP to others that nobody agreed to."""
        pair: dict[str, Any] = {"hint": "give both", "parameters": ("tls_cert", "tls_key")}
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS needs a certificate and its key", **pair)
        if self.client_ca is not None and self.tls_cert is None:
            raise UsageError("clients' certificates need TLS", **pair)
        if not 1 <= self.port <= 65_535:
            raise UsageError(f"there is no port {self.port}", hint="ports are 1 to 65535", parameters=("port",))
        for file in (self.tls_cert, self.tls_key, self.client_ca):
            if file is not None and not file.is_file():
                raise UsageError(f"there is no file {file}", hint="check its name")
        if self.tls_cert is None and self.host not in LOOPBACK and not self.plain_http_to_others:
            raise UsageError(
                f"without TLS everybody on the way to {self.host} could read tokens and answers",
                hint="give a certificate, or listen on 127.0.0.1 behind a proxy",
                parameters=("tls_cert", "tls_key"),
            )

    @property
    def url(self) -> str:
        """The server's address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls_cert is None else 'https'}://{host}:{self.port}"
