"""Run tasks in worker processes: each has one matrix thread, and all end with the parent."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.context import BaseContext
from tempfile import gettempdir
from typing import Any

from cipherlens.errors import CipherlensError
from cipherlens.memory import disable_malloc_trim

_LONGEST_PLACE = 64
"""Bytes of the folder for temporary files, so that a socket's name below it has less than the system's 108."""
_HEAVY = ("torch", "torchvision", "timm", "accelerate")
"""Packages that take long to import and that workers use."""


def run_in_processes(
    work: Callable[[Any], Any],
    tasks: Iterable[Any],
    workers: int,
    initializer: Callable[..., None],
    arguments: tuple[Any, ...],
    seconds: float | None = None,
    preload: Sequence[str] = (),
) -> Iterator[Any]:
    """Yield results as tasks finish. The first error, or an interrupt, stops the workers at once.

    After ``seconds`` the workers are stopped too, and unfinished tasks give no result. Workers are never forked
    from this process, because torch may be at work in it. ``preload`` names modules that they need. Raises
    CipherlensError if a worker is killed.
    """
    before = set(active_children())
    with (
        _one_thread_each(),
        ProcessPoolExecutor(
            workers, _choose_context(preload), _start, (dict(os.environ), initializer, *arguments)
        ) as pool,
    ):
        futures: list[Future[Any]] = []
        try:
            with _hold_interrupts():
                futures += [pool.submit(work, task) for task in tasks]
            done = as_completed(futures, seconds)
            while (future := _wait(done)) is not None:
                yield future.result()
        except BrokenProcessPool:
            raise CipherlensError(
                "a worker process was killed (out of memory?)", hint="run the same command again to continue"
            ) from None
        finally:
            if not all(future.done() for future in futures):
                for child in set(active_children()) - before:
                    child.terminate()
            pool.shutdown(cancel_futures=True)


def _choose_context(preload: Sequence[str]) -> BaseContext:
    """On Linux workers are forked from a process that has only imported; elsewhere each imports for itself.

    That process holds no key, and is found by a path that must be short. It imports ``preload``, and what is heavy
    and already imported here. It is started once, so that it knows nothing of what later calls need.
    """
    if sys.platform != "linux" or len(os.fsencode(gettempdir())) > _LONGEST_PLACE:
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([*preload, *(name for name in _HEAVY if name in sys.modules)])
    return context


@contextmanager
def _hold_interrupts() -> Iterator[None]:
    """Delay an interrupt while workers start, because it disturbs their start; workers keep it blocked."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came:
        raise KeyboardInterrupt


def _wait(done: Iterator[Future[Any]]) -> Future[Any] | None:
    """The next finished task; None where all are finished, or the time is over."""
    try:
        return next(done, None)
    except TimeoutError:
        return None


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit matrix libraries to one thread per worker, because the workers share the cores already."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _start(environment: dict[str, str], initializer: Callable[..., None], *arguments: Any) -> None:
    os.environ.clear()  # that of the process from which this one was forked may be older
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    disable_malloc_trim()
    _watch_parent()
    initializer(*arguments)


def _watch_parent() -> None:
    """End this process when its parent is killed; otherwise a pool's workers would wait forever.

    The pipe to the parent closes when it ends. This also works if the parent ended before this call.
    """
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
