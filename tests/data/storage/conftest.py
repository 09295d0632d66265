"""A real S3 server on this machine, and an address of memory."""

import uuid
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from cipherlens.data.storage.url import Url, _open_system


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of moto's server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Url:
    """A new bucket; where it is and who may use it stands in the environment only."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-words")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    _open_system.cache_clear()
    name = f"b{uuid.uuid4().hex}"
    url = Url(f"s3://{name}")
    url.system.mkdir(name)
    yield url
    _open_system.cache_clear()


@pytest.fixture
def memory() -> Url:
    """A place that is this process's own."""
    return Url(f"memory://{uuid.uuid4().hex}")


@pytest.fixture(params=["s3", "memory"])
def place(request: pytest.FixtureRequest) -> Url:
    """A place in each kind of storage."""
    return request.getfixturevalue("bucket" if request.param == "s3" else "memory") / "set"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of shards lie in the test's own folder."""
    monkeypatch.setenv("CIPHERLENS_CACHE", f"{tmp_path}/cache")
