"""One writer at a time in object storage: an object that names the writer, and changes while it lives.

A store has no locks that the system would release. So a writer renews its object, and another one takes over where
the object has not changed for a while. Who loses its lease notices when it writes the next line of the journal.
"""

import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from cipherlens.data.output_lock import LOCK, describe_writer, name_writer
from cipherlens.data.storage.url import Url, explain, explain_writing
from cipherlens.errors import CipherlensError

RENEW_SECONDS = 15.0
"""A writer renews its lease so often. Chosen by hand."""
PATIENCE_SECONDS = 60.0
"""A lease that has not changed for so long is a dead writer's: four renewals were missed. Chosen by hand."""
_LOOK_SECONDS = 3.0
"""A waiting writer looks so often. Chosen by hand."""
_notes = logging.getLogger(__name__)


def create(url: Url, content: bytes) -> None:
    """Write a new object. Raises FileExistsError where there is one, even if it was written in between.

    Where a store knows no conditional writes, the object is looked for before.
    """
    with explain_writing(url):
        if url.system.exists(url.path):
            raise FileExistsError(str(url))
        url.system.pipe_file(url.path, content, mode="create")


@contextmanager
def hold_lease(root: Url) -> Iterator[None]:
    """Hold the lease of a place. Raises CipherlensError, naming the holder, where a living process has it."""
    place, token = root / LOCK, secrets.token_hex(8)
    _take(place, _describe(token, 0))
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(place, token, over), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(Exception):  # it ends by itself
            if token.encode() in _read(place):
                place.system.rm_file(place.path)


def _describe(token: str, count: int) -> bytes:
    return json.dumps(describe_writer() | {"token": token, "renewed": count}).encode()


def _read(place: Url) -> bytes:
    content: bytes = place.system.cat_file(place.path)
    return content


def _take(place: Url, content: bytes) -> None:
    while True:
        try:
            create(place, content)
            return
        except FileExistsError:
            pass
        with explain(place), suppress(FileNotFoundError):  # the holder has just ended
            found = _wait_for_end(place)
            if _read(place) == found:  # and not another waiting writer's, which was faster
                place.system.rm_file(place.path)


def _wait_for_end(place: Url) -> bytes:
    """The lease of a holder that is dead, as far as one can see. Raises CipherlensError where it lives."""
    found, deadline = _read(place), time.monotonic() + PATIENCE_SECONDS
    if _is_dead_here(found):
        return found
    _notes.info("somebody has begun to write to %s; looking whether that goes on ...", place.parent)
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
        if _read(place) != found:
            raise CipherlensError(
                f"{place.parent} is being written by {name_writer(found) or 'another process'}",
                hint="wait until it is done, or choose another place",
            )
    return found


def _is_dead_here(content: bytes) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    try:
        facts: dict[str, Any] = json.loads(content)
        if facts["host"] != describe_writer()["host"] or facts["process"] == os.getpid():
            return False
        os.kill(int(facts["process"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, OSError):
        return False
    return False


def _renew(place: Url, token: str, over: threading.Event) -> None:
    count = 0
    while not over.wait(RENEW_SECONDS):
        count += 1
        with suppress(Exception):  # the next time will do; or another writer has taken over
            if token.encode() in _read(place):
                place.system.pipe_file(place.path, _describe(token, count))
