"""A bucket on an S3 server of this machine (moto), for measurements."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from cipherlens.data.storage.url import Url

_START_SECONDS = 5
"""The server answers after this time."""


@contextmanager
def open_bucket(port: int) -> Iterator[Url]:
    """A new bucket; its address and who may use it stand in the environment."""
    code = f"from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.environ |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ |= {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
    try:
        time.sleep(_START_SECONDS)
        url = Url(f"s3://b{uuid.uuid4().hex}")
        url.system.mkdir(url.path)
        yield url
    finally:
        server.terminate()
