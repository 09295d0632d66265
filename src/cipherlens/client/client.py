"""``cl.Client`` and ``AsyncClient``: ask a provider's server about images that are encrypted here."""

import asyncio
import os
import time
from collections.abc import Sequence
from typing import Any

import httpx

from cipherlens.client.asking import Answer, Conversation, Pause, Step, Work
from cipherlens.client.line import describe_line
from cipherlens.client.sealing import Prediction
from cipherlens.keys import Key


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
        self._conversation = Conversation(model, key, scheme, batch)


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
        steps, result = self._conversation.classify(images), None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return list(end.value)
            result = self._do(step)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, step: Step) -> Any:
        if isinstance(step, Work):
            return step.function()
        if isinstance(step, Pause):
            return time.sleep(step.seconds)
        try:
            with self._http.stream(step.method, step.place, content=step.body, headers=step.headers) as response:
                answer = Answer(response)
                for part in response.iter_raw():
                    answer.add(part)
                return answer
        except httpx.RequestError as error:
            return error


class AsyncClient(_Base):
    """The same for asynchronous code: ``await AsyncClient(...).classify([...])``."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self._http = httpx.AsyncClient(**self._line)

    async def classify(self, images: Sequence[Any]) -> list[Prediction]:
        """As :meth:`Client.classify`. Images are prepared in a thread, those of a request at a time."""
        steps, result = self._conversation.classify(images), None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return list(end.value)
            result = await self._do(step)

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _do(self, step: Step) -> Any:
        if isinstance(step, Work):
            return await asyncio.to_thread(step.function)
        if isinstance(step, Pause):
            return await asyncio.sleep(step.seconds)
        sent = self._http.stream(step.method, step.place, content=step.body, headers=step.headers)
        try:
            async with sent as response:
                answer = Answer(response)
                async for part in response.aiter_raw():
                    answer.add(part)
                return answer
        except httpx.RequestError as error:
            return error
