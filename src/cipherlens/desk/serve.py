"""Start the desk: its roles, and a web server on loopback that only the link's holder can use."""

import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.desk.desk import Desk
from cipherlens.desk.roles.handles import OwnProvider, Provider
from cipherlens.desk.setting import Setting
from cipherlens.desk.web.app import create_app
from cipherlens.desk.web.gate import Gate, make_link
from cipherlens.desk.web.page import Page
from cipherlens.errors import DataError, UsageError
from cipherlens.inference import LOOPBACK
from cipherlens.keys import Key
from cipherlens.training.run.record import read_record

NO_PROVIDER = "no provider: make demo trains one, and --run RUN or --provider URL names another"


def open_desk(
    key: Key,
    key_name: str,
    provider: Path | Provider | None,
    port: int,
    tell: Callable[[str], None],
    browse: bool = False,
) -> None:
    """Serve the desk until it is interrupted.

    ``provider``: one that is there, or a run folder for a server that is started here. Raises UsageError where the
    port is taken, or the run is none that answers without a key; DataError for a run that cannot be read.
    """
    setting = _choose_setting(provider) if isinstance(provider, Path) else Setting()
    with tempfile.TemporaryDirectory() as folder, _listen(port) as place:
        found = OwnProvider(provider, Path(folder)) if isinstance(provider, Path) else provider
        desk, link = Desk(key, setting, found, NO_PROVIDER), make_link()
        config = uvicorn.Config(
            Gate(create_app(Page(desk, key_name)), port, link),
            log_config=None,
            access_log=False,
            server_header=False,
        )
        address = f"http://{LOOPBACK[0]}:{port}{link}"
        tell(f"open this link, once: {address}")
        if browse:  # a browser in the terminal would hold up the server
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        uvicorn.Server(config).run(sockets=[place])


def _listen(port: int) -> socket.socket:
    """Bound before the link is shown: it is never given to another program on this port."""
    try:
        return socket.create_server((LOOPBACK[0], port))
    except OSError:
        raise UsageError(f"cannot listen on port {port}", hint="choose another", parameters=("port",)) from None


def _choose_setting(run: Path) -> Setting:
    """The setting of a run's images; the default where the page cannot choose it."""
    record = read_record(run)
    if record.owners or record.config.lock is not None:
        kind = "for images under several keys" if record.owners else "locked, and runs only with the key"
        raise UsageError(f"{run} is {kind}", hint="give one that was trained on sealed images")
    try:
        return Setting.of_scheme(CipherSpec.from_json(record.provenance))
    except (DataError, UsageError):
        return Setting()
