"""Dynamic batching: requests that wait together are computed together, by the worker threads of their model."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cipherlens.errors import UsageError
from cipherlens.service.errors import RETRY_SECONDS, RequestError, overloaded, unfit

Compute = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Function from images (N, C, H, W) to logits (N, classes), or (N, classes, H, W)."""


@dataclass(frozen=True)
class Limits:
    """``batch``: images that are computed at once. ``wait``: seconds that the first waits for others.

    ``queue``: images that may wait; more are refused. ``seconds``: how long a request may take. ``body``: its
    bytes. ``workers``: batches that are computed at a time, each with its share of the cores. Raises UsageError
    for a limit that lets nothing through.
    """

    batch: int = 32
    wait: float = 0.002
    queue: int = 512
    seconds: float = 30.0
    body: int = 64 << 20
    workers: int = 1

    @property
    def threads(self) -> int:
        """Threads with which one worker computes."""
        return max(1, torch.get_num_threads() // self.workers)

    def __post_init__(self) -> None:
        if min(self.batch, self.queue, self.body, self.workers) < 1 or not self.seconds > 0 or not self.wait >= 0:
            raise UsageError("these limits let no request through", hint="limits are positive numbers")


@dataclass(eq=False)
class _Waiting:
    images: NDArray[Any]
    answer: "asyncio.Future[NDArray[np.float32]]"


class Batcher:
    """The queue of one model. ``measure`` is told the number of images of every batch, and the queue's length."""

    def __init__(self, compute: Compute, limits: Limits, measure: Callable[[int, int], None]) -> None:
        self._compute, self._limits, self._measure = compute, limits, measure
        self._queue: deque[_Waiting] = deque()
        self._images = 0
        self._pool = ThreadPoolExecutor(limits.workers, "model", torch.set_num_threads, (limits.threads,))
        self._free = asyncio.Semaphore(limits.workers)
        self._come, self._full = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run())
        self._computing = set[asyncio.Task[None]]()

    @property
    def works(self) -> bool:
        """Whether its worker is there."""
        return not self._task.done()

    def require_room(self, images: int = 1) -> None:
        """Raise RequestError where the queue has no room for so many images more."""
        if self._images + images > self._limits.queue:
            raise overloaded("the queue is full")

    async def submit(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of images (n, C, H, W). Raises RequestError where the queue is full, or the model fails.

        A request that is cancelled while it waits leaves the queue.
        """
        self.require_room(len(images))
        waiting = _Waiting(images, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._count(len(images))
        try:
            return await waiting.answer
        except asyncio.CancelledError:
            with suppress(ValueError):  # it is being computed
                self._queue.remove(waiting)
                self._count(-len(images))
            raise

    async def close(self, seconds: float) -> None:
        """End the worker. What waits is answered first, for at most so many seconds; the rest is refused."""
        end = asyncio.get_running_loop().time() + seconds
        while (self._queue or self._computing) and self.works and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.01)
        self._task.cancel()
        for waiting in self._queue:
            if not waiting.answer.done():
                waiting.answer.set_exception(RequestError(503, "stopping", "the server stops", RETRY_SECONDS))
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _count(self, images: int) -> None:
        self._images += images
        (self._come.set if self._queue else self._come.clear)()
        (self._full.set if self._images >= self._limits.batch else self._full.clear)()

    async def _run(self) -> None:
        while True:
            await self._free.acquire()  # first: what comes while all are busy is computed together
            await self._come.wait()
            if self._images < self._limits.batch:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._limits.wait)
            computing = asyncio.create_task(self._compute_all(self._take()))
            self._computing.add(computing)
            computing.add_done_callback(self._computing.discard)

    async def _compute_all(self, taken: list[_Waiting]) -> None:
        try:
            await self._answer(taken)
        except Exception as error:  # of the model: its text may show this machine
            for one in taken:
                if not one.answer.done():
                    one.answer.set_exception(RequestError(500, "failure", "the model failed on these images"))
            told = {"message": "a model failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
        finally:
            self._free.release()

    def _take(self) -> list[_Waiting]:
        taken, count = list[_Waiting](), 0
        while self._queue and (not taken or count + len(self._queue[0].images) <= self._limits.batch):
            taken.append(self._queue.popleft())
            count += len(taken[-1].images)
        self._count(-count)
        return taken

    async def _answer(self, taken: list[_Waiting]) -> None:
        if not taken:
            return
        images = taken[0].images if len(taken) == 1 else np.concatenate([one.images for one in taken])
        parts = []
        for start in range(0, len(images), self._limits.batch):
            if all(one.answer.done() for one in taken):
                return
            chunk = images[start : start + self._limits.batch]
            self._measure(len(chunk), self._images)
            parts.append(await asyncio.get_running_loop().run_in_executor(self._pool, self._compute, chunk))
            if parts[-1].ndim < 2 or len(parts[-1]) != len(chunk):
                raise ValueError(f"the model gave {parts[-1].shape} for {len(chunk)} images")
        logits, start = np.concatenate(parts), 0
        for one in taken:
            part, start = logits[start : start + len(one.images)], start + len(one.images)
            if one.answer.done():
                continue
            if np.isfinite(part).all():
                one.answer.set_result(part)
            else:
                one.answer.set_exception(unfit("the model has no finite answer to these images"))
