"""How a server is reached: address, token, certificates."""

import os
import re
import ssl
from typing import Any
from urllib.parse import urlsplit

from cipherlens.errors import UsageError
from cipherlens.inference import LOOPBACK

_TOKEN = re.compile(r"[\x21-\x7e]{1,512}")


def describe_line(
    url: str,
    token: str | None,
    ca: str | os.PathLike[str] | None,
    certificate: tuple[str, str] | None,
) -> dict[str, Any]:
    """The options of an HTTP client. No proxy and no certificate of the environment is used.

    Raises UsageError for an address that is none, a token that cannot be one, or that would go out unencrypted.
    """
    try:
        parts = urlsplit(url)
        secure, host = parts.scheme == "https", parts.hostname
        known = parts.scheme in ("http", "https") and bool(host) and (parts.port is None or parts.port > 0)
    except ValueError:
        known, secure, host = False, False, None
    if not known:
        raise UsageError(f"{url!r} is no address", hint="give https://HOST[:PORT]")
    headers = {"Accept-Encoding": "identity"}
    if token is not None:
        token = token.strip()
        if not _TOKEN.fullmatch(token):  # its text is not shown
            raise UsageError("the token is empty, or has signs that none has", hint="give it as it was shown")
        if not secure and host not in LOOPBACK:
            raise UsageError("the token would go out unencrypted", hint="use https")
        headers["Authorization"] = f"Bearer {token}"
    verify: ssl.SSLContext | bool = True
    if secure and (ca is not None or certificate is not None):
        verify = _make_context(ca, certificate)
    return {"base_url": url, "headers": headers, "verify": verify, "trust_env": False}


def _make_context(ca: str | os.PathLike[str] | None, certificate: tuple[str, str] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else os.fspath(ca))
        if certificate is not None:
            context.load_cert_chain(*certificate)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"a certificate cannot be read: {error}", hint="give PEM files") from None
    return context
