"""``cl.Client`` and ``AsyncClient``: ask a provider's server about images that are encrypted here."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import httpx

from cipherlens.client.asking import Answer, ModelChanged, Questions, choose_pause
from cipherlens.client.line import describe_line
from cipherlens.client.sealing import Prediction, list_items
from cipherlens.data.images import Item
from cipherlens.errors import CipherlensError
from cipherlens.keys import Key

_ATTEMPTS_AFTER_CHANGE = 3
"""How often images are sealed anew, where the server's model changes meanwhile. Chosen by hand."""


class _Base:
    """What both clients share: everything but waiting.

    ``url``: of the server. ``key``: the client's. ``model``: its name there. ``scheme``: a sealed data set of your
    own; a server that asks for anything else gets nothing. ``ca``: a file with the authority that signed the
    server's certificate. ``certificate``: files with the client's own and its key. ``batch``: images in a request.
    ``seconds``: how long an answer may take. Raises UsageError for a token over plain HTTP to another machine.
    """

    def __init__(
        self,
        url: str,
        *,
        key: Key,
        model: str = "run",
        token: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        certificate: tuple[str, str] | None = None,
        scheme: Any = None,
        batch: int = 32,
        seconds: float = 60.0,
    ) -> None:
        self._line = describe_line(url, token, ca, certificate) | {"timeout": seconds}
        self._questions = Questions(model, key, scheme, batch)


class Client(_Base):
    """Ask about images from ordinary code: ``Client(url, key=key, model="run").classify([path, ...])``."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = httpx.Client(**self._line)

    def classify(self, images: Sequence[Any]) -> list[Prediction]:
        """The classes of images (paths, encoded bytes, images of PIL, arrays), in their order.

        They are decoded, prepared and encrypted here. Raises KeyFailureError where the server is for another key or
        scheme: then nothing was sent. Raises DataError for an image that cannot be decoded, CipherlensError where
        the server refuses, or cannot be reached after several attempts.
        """
        items, found = list_items(images), list[Prediction]()
        while len(found) < len(items):
            found += self._classify_some(items[len(found) :])
        return found

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _classify_some(self, items: Sequence[Item]) -> list[Prediction]:
        asking = self._questions
        for _ in range(_ATTEMPTS_AFTER_CHANGE):
            if asking.sealer is None:
                asking.learn(self._send("GET", asking.place).content)
            question = asking.write(items)
            try:
                answer = self._send("POST", f"{asking.place}/infer", question.body, question.headers)
            except ModelChanged:
                asking.sealer = None
                continue
            return asking.read(answer, question)
        raise CipherlensError("the server's model changes all the time", hint="try again later")

    def _send(
        self, method: str, place: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        attempt = 0
        while True:
            outcome: Answer | httpx.RequestError
            try:
                with self._http.stream(method, place, content=body, headers=headers) as response:
                    outcome = Answer(response)
                    for part in response.iter_raw():
                        outcome.add(part)
                if outcome.status == httpx.codes.OK:
                    return outcome
            except httpx.RequestError as error:
                outcome = error
            time.sleep(choose_pause(attempt, outcome))
            attempt += 1


class AsyncClient(_Base):
    """The same for asynchronous code: ``await AsyncClient(...).classify([...])``."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = httpx.AsyncClient(**self._line)

    async def classify(self, images: Sequence[Any]) -> list[Prediction]:
        """As :meth:`Client.classify`. Images are prepared in a thread, those of a request at a time."""
        items, found = list_items(images), list[Prediction]()
        while len(found) < len(items):
            found += await self._classify_some(items[len(found) :])
        return found

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _classify_some(self, items: Sequence[Item]) -> list[Prediction]:
        asking = self._questions
        for _ in range(_ATTEMPTS_AFTER_CHANGE):
            if asking.sealer is None:
                asking.learn((await self._send("GET", asking.place)).content)
            question = await asyncio.to_thread(asking.write, items)
            try:
                answer = await self._send("POST", f"{asking.place}/infer", question.body, question.headers)
            except ModelChanged:
                asking.sealer = None
                continue
            return asking.read(answer, question)
        raise CipherlensError("the server's model changes all the time", hint="try again later")

    async def _send(
        self, method: str, place: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        attempt = 0
        while True:
            outcome: Answer | httpx.RequestError
            try:
                async with self._http.stream(method, place, content=body, headers=headers) as response:
                    outcome = Answer(response)
                    async for part in response.aiter_raw():
                        outcome.add(part)
                if outcome.status == httpx.codes.OK:
                    return outcome
            except httpx.RequestError as error:
                outcome = error
            await asyncio.sleep(choose_pause(attempt, outcome))
            attempt += 1
