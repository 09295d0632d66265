"""Make shards on a Ray cluster. Ray Data spreads the tasks, and repeats those of a lost machine."""

import json
import logging
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import cipherlens.errors
from cipherlens.data.sealed.cluster.broker import ask_for_key, handing_out
from cipherlens.data.sealed.manifest import Shard
from cipherlens.data.sealed.shards import Made, ShardMaker, ShardTask
from cipherlens.errors import CipherlensError, UsageError
from cipherlens.keys import Key

_TASKS_PER_BLOCK = 4
"""Shards that are handed to a worker at a time: what a lost machine may have to repeat. Chosen by hand."""

_CONNECT_SECONDS = 10.0
"""How long a cluster's address may take to answer. Chosen by hand."""


def make_shards_on_ray(
    maker: ShardMaker, tasks: list[ShardTask], key: Key, workers: int | None, address: str | None
) -> Iterator[Made]:
    """Make shards in ``workers`` processes of the cluster at ``address``, in any order.

    Without an address, a cluster is found as Ray does it (RAY_ADDRESS), or one is started on this machine. Without
    a number of workers, there is one for each processor. Raises the first error of a worker, or UsageError where
    there is no Ray.
    """
    if not tasks:
        return
    with _connect(address) as ray, handing_out(key) as broker:
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        rows = [
            {"task": json.dumps({"file": task.file, "split": task.split, "indices": task.indices.tolist()})}
            for task in tasks
        ]
        blocks = -(-len(tasks) // _TASKS_PER_BLOCK)
        made = ray.data.from_items(rows, override_num_blocks=blocks).map(
            _Worker,
            fn_constructor_args=(maker, broker),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(count, len(tasks))),
            num_cpus=1,
        )
        for row in made.iter_rows():
            yield _read_answer(json.loads(row["made"]))


@contextmanager
def _connect(address: str | None) -> Iterator[Any]:
    """Ray, connected; what this call connects it disconnects."""
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("the engine ray needs Ray", hint="pip install 'cipherlens[ray]', on every node") from None
    _require_listener(address)
    before = ray.is_initialized()
    if not before:
        try:
            ray.init(
                address,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"there is no Ray cluster at {address}: {error}", parameters=("address",)) from None
    ray.data.DataContext.get_current().enable_progress_bars = False  # ours is shown
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if not before:
            ray.shutdown()


def _require_listener(address: str | None) -> None:
    """Raise UsageError where nobody listens at host:port, which Ray would wait for, for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UsageError(f"there is no Ray cluster at {address}: {error}", parameters=("address",)) from None


class _Worker:
    """One process of the cluster. The key is in its memory only."""

    def __init__(self, maker: ShardMaker, broker: Any) -> None:
        self._maker = maker
        self._failure: dict[str, Any] | None = None
        try:
            key = ask_for_key(broker)
            self._bound, self._source = maker.bind(key), maker.open(key)
        except CipherlensError as error:
            self._failure = _describe_error(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A shard's entry. An error travels as words, because Ray would show its whole history."""
        if self._failure is not None:
            return {"made": json.dumps(self._failure)}
        facts = json.loads(row["task"])
        task = ShardTask(facts["file"], facts["split"], np.array(facts["indices"], np.int64))
        try:
            made = self._maker.make(task, self._bound, self._source)
        except CipherlensError as error:
            return {"made": json.dumps(_describe_error(error))}
        waiting = None if made.waiting is None else str(made.waiting)
        return {"made": json.dumps(asdict(made) | {"waiting": waiting})}


def _describe_error(error: CipherlensError) -> dict[str, Any]:
    return {"error": type(error).__name__, "words": error.args[0], "hint": error.hint, "about": error.parameters}


def _read_answer(facts: dict[str, Any]) -> Made:
    if "error" in facts:
        kind = getattr(cipherlens.errors, facts["error"], CipherlensError)
        raise kind(facts["words"], facts["hint"], tuple(facts["about"]))
    return Made(
        Shard(**facts["shard"]),
        None if facts["waiting"] is None else Path(facts["waiting"]),
        [(name, reason) for name, reason in facts["skipped"]],
        facts["looked_at"],
        Counter(facts["remarks"]),
    )
