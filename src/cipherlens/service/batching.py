"""Dynamic batching: requests that wait together are computed together, by one worker thread for each model."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.service.errors import RequestError

Compute = Callable[[NDArray[Any]], NDArray[np.float32]]
RETRY_SECONDS = 1.0
"""After how long a refused client may come again. Chosen by hand."""


@dataclass(frozen=True)
class Limits:
    """``batch``: images that are computed at once. ``wait``: seconds that the first waits for others.

    ``queue``: images that may wait; more are refused. ``seconds``: how long a request may take. ``body``: its
    bytes.
    """

    batch: int = 32
    wait: float = 0.002
    queue: int = 512
    seconds: float = 30.0
    body: int = 64 << 20


@dataclass
class _Waiting:
    images: NDArray[Any]
    answer: "asyncio.Future[NDArray[np.float32]]"


class Batcher:
    """The queue of one model. ``measure`` is told the number of images of every batch, and the queue's length."""

    def __init__(self, compute: Compute, limits: Limits, measure: Callable[[int, int], None]) -> None:
        self._compute, self._limits, self._measure = compute, limits, measure
        self._queue: deque[_Waiting] = deque()
        self._images = 0
        self._pool = ThreadPoolExecutor(1, "model")
        self._come, self._full = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def submit(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of images (n, C, H, W). Raises RequestError where the queue is full, or the model fails.

        A request that is cancelled while it waits is not computed.
        """
        if self._images + len(images) > max(self._limits.queue, len(images) * (not self._queue)):
            raise RequestError(429, "overload", "the queue is full", RETRY_SECONDS)
        waiting = _Waiting(images, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._images += len(images)
        self._come.set()
        if self._images >= self._limits.batch:
            self._full.set()
        return await waiting.answer

    async def close(self) -> None:
        """End the worker; what still waits is answered first."""
        while self._queue:
            await asyncio.sleep(0.01)
        self._task.cancel()
        self._pool.shutdown(wait=True)

    async def _run(self) -> None:
        while True:
            await self._come.wait()
            if self._images < self._limits.batch:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._limits.wait)
            await self._compute_batch(self._take())

    def _take(self) -> list[_Waiting]:
        taken, count = list[_Waiting](), 0
        while self._queue and (not taken or count + len(self._queue[0].images) <= self._limits.batch):
            waiting = self._queue.popleft()
            self._images -= len(waiting.images)
            if not waiting.answer.cancelled():
                taken.append(waiting)
                count += len(waiting.images)
        if not self._queue:
            self._come.clear()
        if self._images < self._limits.batch:
            self._full.clear()
        return taken

    async def _compute_batch(self, taken: list[_Waiting]) -> None:
        if not taken:
            return
        images = taken[0].images if len(taken) == 1 else np.concatenate([one.images for one in taken])
        self._measure(len(images), self._images)
        try:
            logits = await asyncio.get_running_loop().run_in_executor(self._pool, self._compute, images)
        except Exception as error:  # of the model: its text may show this machine
            for one in taken:
                if not one.answer.done():
                    one.answer.set_exception(RequestError(500, "failure", "the model failed on these images"))
            raise_later(error)
            return
        start = 0
        for one in taken:
            part, start = logits[start : start + len(one.images)], start + len(one.images)
            if not one.answer.done():
                one.answer.set_result(part)


def raise_later(error: Exception) -> None:
    """Give an error to the event loop's handler, which logs it; nobody outside sees it."""
    asyncio.get_running_loop().call_exception_handler({"message": "the model failed", "exception": error})
