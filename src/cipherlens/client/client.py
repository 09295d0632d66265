"""``cl.Client`` and ``AsyncClient``: ask a provider's server about images that are encrypted here."""

import asyncio
import os
import random
import secrets
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from cipherlens.client.sealing import Prediction, Sealer, choose_sealer, list_items, read_scheme
from cipherlens.client.wire import LENGTH_HEADER, read_answer, write_request
from cipherlens.errors import CipherlensError, DataError, KeyFailureError, UsageError
from cipherlens.keys import Key

_ATTEMPTS = 8
"""How often a request is sent, where it gets no answer. Chosen by hand."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 20.0
"""Seconds before the second attempt; each pause is twice the last. Chosen by hand."""
_AGAIN = (429, 500, 502, 503, 504)
"""Statuses after which the same request is sent again: asking changes nothing on the server."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Base:
    """What both clients share: everything but waiting.

    ``url``: of the server. ``key``: the client's. ``model``: its name there. ``scheme``: a sealed data set of your
    own; a server that asks for anything else gets nothing. ``ca``: a file with the authority that signed the
    server's certificate. ``batch``: images in a request. Raises UsageError for a token over plain HTTP to another
    machine.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Key,
        model: str,
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: tuple[str, str] | None = None,
        scheme: Any = None,
        batch: int = 32,
        seconds: float = 60.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{url!r} is no address", hint="give https://HOST[:PORT]")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK and token is not None:
            raise UsageError("the token would go out unencrypted", hint="use https")
        if batch < 1:
            raise UsageError("batch is at least 1")
        self._key, self._batch, self._model = key, batch, model
        self._pinned = read_scheme(scheme, key)
        self._sealer: Sealer | None = None
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        verify: ssl.SSLContext | bool = True
        if parts.scheme == "https" and (ca is not None or certificate is not None):
            verify = _make_context(ca, certificate)
        self._options: dict[str, Any] = {
            "base_url": url,
            "headers": headers,
            "verify": verify,
            "timeout": seconds,
            "trust_env": False,
        }

    @property
    def _place(self) -> str:
        return f"/v2/models/{self._model}"

    def _groups(self, images: Sequence[Any]) -> Iterator[tuple[list[str], NDArray[Any]]]:
        items = list_items(images)
        assert self._sealer is not None
        for first in range(0, len(items), self._batch):
            group = items[first : first + self._batch]
            yield [item.name for item in group], self._sealer.seal(group)

    def _write(self, sealed: NDArray[Any]) -> tuple[str, bytes, dict[str, str]]:
        assert self._sealer is not None
        name, scheme = secrets.token_hex(16), self._sealer.scheme
        body, headers = write_request(sealed, name, scheme.key_fingerprint, scheme.cipher)
        return name, body, headers

    def _read(self, response: httpx.Response, name: str, names: list[str]) -> list[Prediction]:
        assert self._sealer is not None
        found = read_answer(response.content, response.headers.get(LENGTH_HEADER), name, len(names))
        return self._sealer.rank(names, np.asarray(found))


class Client(_Base):
    """Ask about images from ordinary code: ``Client(url, key=key, model="run").classify([path, ...])``."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = httpx.Client(**self._options)

    def classify(self, images: Sequence[Any]) -> list[Prediction]:
        """The classes of images (paths, encoded bytes, images of PIL, arrays), in their order.

        They are decoded, prepared and encrypted here. Raises KeyFailureError where the server is for another key or
        scheme: then nothing was sent. Raises DataError for an image that cannot be decoded, CipherlensError where
        the server refuses, or cannot be reached after several attempts.
        """
        if self._sealer is None:
            self._sealer = choose_sealer(_to_json(self._send("GET", self._place)), self._key, self._pinned)
        found: list[Prediction] = []
        for names, sealed in self._groups(images):
            name, body, headers = self._write(sealed)
            found += self._read(self._send("POST", f"{self._place}/infer", body, headers), name, names)
        return found

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(
        self, method: str, place: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        for attempt in range(_ATTEMPTS):
            try:
                response = self._http.request(method, place, content=body, headers=headers)
            except httpx.TransportError as error:
                pause = _choose_pause(attempt, error)
            else:
                if response.status_code == httpx.codes.OK:
                    return response
                pause = _choose_pause(attempt, response)
            time.sleep(pause)
        raise AssertionError("unreachable")


class AsyncClient(_Base):
    """The same for asynchronous code: ``await AsyncClient(...).classify([...])``."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = httpx.AsyncClient(**self._options)

    async def classify(self, images: Sequence[Any]) -> list[Prediction]:
        """As :meth:`Client.classify`. Images are prepared in a thread."""
        if self._sealer is None:
            self._sealer = choose_sealer(_to_json(await self._send("GET", self._place)), self._key, self._pinned)
        found: list[Prediction] = []
        for names, sealed in await asyncio.to_thread(lambda: list(self._groups(images))):
            name, body, headers = self._write(sealed)
            found += self._read(await self._send("POST", f"{self._place}/infer", body, headers), name, names)
        return found

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(
        self, method: str, place: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        for attempt in range(_ATTEMPTS):
            try:
                response = await self._http.request(method, place, content=body, headers=headers)
            except httpx.TransportError as error:
                pause = _choose_pause(attempt, error)
            else:
                if response.status_code == httpx.codes.OK:
                    return response
                pause = _choose_pause(attempt, response)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")


def _choose_pause(attempt: int, outcome: httpx.Response | httpx.TransportError) -> float:
    """Seconds until the next attempt. Raises an error where another would not help, or enough were made."""
    last = attempt + 1 >= _ATTEMPTS
    if isinstance(outcome, httpx.TransportError):
        if last or "CERTIFICATE" in str(outcome).upper():
            hint = "check address, certificate and network"
            raise CipherlensError(f"the server cannot be reached: {outcome}", hint=hint) from None
        wanted = 0.0
    else:
        if last or outcome.status_code not in _AGAIN:
            raise _explain(outcome)
        asked = outcome.headers.get("retry-after", "0")
        wanted = float(asked) if asked.isascii() and asked.isdecimal() else 0.0
    pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    return max(wanted, random.uniform(pause / 2, pause))


def _explain(response: httpx.Response) -> CipherlensError:
    try:
        said = str(response.json()["error"])[:500]
    except (ValueError, KeyError, TypeError):
        said = "no reason given"
    message = f"the server refused ({response.status_code}): {said}"
    if response.status_code in (401, 403, 409):
        return KeyFailureError(message, hint="check token, key and model")
    return DataError(message) if response.status_code < 500 else CipherlensError(message, hint="try again later")


def _to_json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        raise DataError("the server's answer is not JSON", hint="is it a server of cipherlens?") from None


def _make_context(ca: str | os.PathLike[str] | None, certificate: tuple[str, str] | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if ca is None else os.fspath(ca))
        if certificate is not None:
            context.load_cert_chain(*certificate)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"a certificate cannot be read: {error}", hint="give PEM files") from None
    return context
