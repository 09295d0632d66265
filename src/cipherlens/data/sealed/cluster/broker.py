"""How the key reaches workers of a cluster: each makes a key pair, and the driver seals the key to it.

An actor beside the driver passes the messages on. What it sees, and with it Ray's object store, logs and dashboard,
are public keys and sealed messages.
"""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cipherlens.errors import KeyFailureError
from cipherlens.keys import Key
from cipherlens.keys.channel import Receiver, seal_key

_PATIENCE_SECONDS = 120.0
"""A worker waits so long for the key. Chosen by hand."""
_LOOK_SECONDS = 0.1
"""The driver looks for new workers so often. Chosen by hand."""


class Broker:
    """Passes public keys to the driver, and its messages back. It runs as an actor of Ray."""

    def __init__(self) -> None:
        self._asked: list[bytes] = []
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}

    async def ask(self, public: bytes) -> bytes:
        """Of a worker: the message for its public key, when the driver has answered."""
        self._answers[public] = asyncio.get_running_loop().create_future()
        self._asked.append(public)
        try:
            return await asyncio.wait_for(self._answers[public], _PATIENCE_SECONDS)
        finally:
            del self._answers[public]

    async def take(self) -> list[bytes]:
        """Of the driver: the public keys that were not taken yet."""
        taken, self._asked = self._asked, []
        return taken

    async def answer(self, public: bytes, message: bytes) -> None:
        """Of the driver: the message for a public key."""
        waiting = self._answers.get(public)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)


@contextmanager
def handing_out(key: Key) -> Iterator[Any]:
    """The broker's handle; meanwhile every worker that asks is given the key, under its own public key."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver: where its machine is lost, the driver is, too.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    broker = ray.remote(Broker).options(num_cpus=0, scheduling_strategy=here).remote()
    over = threading.Event()

    def answer() -> None:
        while not over.wait(_LOOK_SECONDS):
            for public in ray.get(broker.take.remote()):
                ray.get(broker.answer.remote(public, seal_key(key, public)))

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield broker
    finally:
        over.set()
        thread.join()
        ray.kill(broker)


def ask_for_key(broker: Any) -> Key:
    """In a worker: the key. Raises KeyFailureError where the driver does not answer."""
    import ray

    receiver = Receiver()
    try:
        message = ray.get(broker.ask.remote(receiver.public))
    except ray.exceptions.RayTaskError:
        raise KeyFailureError("the job that has the key does not answer", hint="run it again") from None
    return receiver.open(message)
