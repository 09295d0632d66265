"""A server in this process, and one in a process of its own."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from cipherlens.service.app import Server, create_app
from cipherlens.service.batching import Limits
from cipherlens.service.contract import Contract
from cipherlens.service.models import ServedModel
from cipherlens.service.tokens import Guard
from tests.integrations.conftest import runs  # noqa: F401  # the fixture

SHAPE = (3, 8, 8)


def find_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def add_up(images: np.ndarray) -> np.ndarray:
    """A model whose logits are known: the mean, and twice the mean."""
    mean = images.astype(np.float32).mean((1, 2, 3))
    return np.stack([mean, 2 * mean], axis=1)


def serve_model(compute: Any = add_up, name: str = "sum", dtype: str = "float32", **facts: Any) -> ServedModel:
    return ServedModel(Contract(name, SHAPE, dtype, ("a", "b"), **facts), compute)


@contextmanager
def running(
    *models: ServedModel, limits: Limits | None = None, guard: Guard | None = None
) -> Iterator[httpx.Client]:
    """A client of a server of these models in a thread; its attribute ``server`` is the server."""
    server = Server({model.contract.name: model for model in models}, limits or Limits(), guard)
    port = find_port()
    config = uvicorn.Config(create_app(server), port=port, log_config=None, access_log=False)
    web = uvicorn.Server(config)
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
        wait_until_ready(client)
        client.server = server  # type: ignore[attr-defined]
        yield client
    web.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


def wait_until_ready(client: httpx.Client, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if client.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError("the server does not start")


@contextmanager
def process(*arguments: object, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``cipherlens serve`` as users start it, at home in the folder of ``log``, to which goes what it says."""
    words = [sys.executable, "-m", "cipherlens", "serve", *map(str, arguments)]
    home = str(log.parent)
    places = os.environ | {"HOME": home, "TMPDIR": home, "XDG_CACHE_HOME": home}
    with log.open("ab") as file:
        server = subprocess.Popen(words, stdout=file, stderr=file, cwd=home, env=places)
    try:
        yield server
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((5, *SHAPE), np.float32)
