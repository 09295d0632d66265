"""A desk in this process, behind its gate, and a client that has opened its link."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import uvicorn
from PIL import Image

import cipherlens as cl
from cipherlens.data.sources.registry import open_source
from cipherlens.desk.desk import Desk
from cipherlens.desk.roles.handles import Provider
from cipherlens.desk.setting import Setting
from cipherlens.desk.web.app import create_app
from cipherlens.desk.web.gate import Gate, make_link
from cipherlens.desk.web.page import Page
from tests.integrations.conftest import KEY as RUNS_KEY  # noqa: F401
from tests.integrations.conftest import runs  # noqa: F401  # the fixture
from tests.service.conftest import find_port

KEY = cl.Key(bytes(range(32)))


def encode(pixels: np.ndarray, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, kind, quality=92)
    return buffer.getvalue()


def photos(count: int, side: int = 96) -> list[bytes]:
    """JPEG photos of generated scenes."""
    source = open_source(f"synthetic:objects?n={max(count, 10)}&test=4&size={side}&seed=5")
    return [encode(item.decode()) for item in source.read("train", range(count))]


class Opened(httpx.Client):
    """A browser's requests: with its origin, and the cookie."""

    desk: Desk
    page: Page
    link: str


@contextmanager
def opened(setting: Setting | None = None, provider: Provider | None = None, key: cl.Key = KEY) -> Iterator[Opened]:
    desk = Desk(key, setting or Setting(block=4, size=32), provider, "no provider")
    page, link, port = Page(desk, ""), make_link(), find_port()
    web = uvicorn.Server(
        uvicorn.Config(Gate(create_app(page), port, link), port=port, log_config=None, access_log=False)
    )
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    wait_for(lambda: web.started)
    base = f"http://127.0.0.1:{port}"
    with Opened(base_url=base, headers={"Origin": base}, trust_env=False, timeout=60) as client:
        client.desk, client.page, client.link = desk, page, link
        assert client.get(link).status_code == 303
        yield client
    web.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)
