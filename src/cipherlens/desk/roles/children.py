"""Processes of the other roles: what they may know of this one, and that they end with it."""

import asyncio
import os
import sys
import threading
import time

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "PYTHONPATH", "VIRTUAL_ENV", "OMP_NUM_THREADS")
"""Environment variables that a role's process gets; others could hold a passphrase."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Beside other work two threads wait for each other: an attack then took several times as long."""
_NICE = 5
"""How far the others step back behind the page."""
_SECONDS = 1.0


async def start(module: str, *arguments: str, talks: bool = False) -> asyncio.subprocess.Process:
    """Run a module of this package in a process of its own; one that ``talks`` has standard input and output.

    The latter has one thread. Ctrl-C does not reach it, and modules are not looked for in the current folder.
    """
    pipe = asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments, str(os.getpid())),
        stdin=pipe,
        stdout=pipe,
        env={name: os.environ[name] for name in _KEPT if name in os.environ} | (_ONE_THREAD if talks else {}),
        start_new_session=True,
    )


def step_back(parent: str) -> None:
    """In the other process: let the page come first, and end when the page's process has ended, however it did.

    ``parent``: the number of the page's process, as :func:`start` passes it.
    """
    if hasattr(os, "nice"):
        os.nice(_NICE)
        threading.Thread(target=_watch, args=(int(parent),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS)
    os._exit(1)
