"""Start the desk: its roles, and a web server on loopback that only the link's holder can use."""

import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn

from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.desk.app import create_app
from cipherlens.desk.desk import Desk
from cipherlens.desk.gate import Gate, make_link
from cipherlens.desk.page import Page
from cipherlens.desk.roles import Provider
from cipherlens.desk.setting import Setting
from cipherlens.errors import UsageError
from cipherlens.inference import LOOPBACK
from cipherlens.keys import Key
from cipherlens.training.run.record import read_record

NO_PROVIDER = "no provider: make demo trains one, and --run RUN or --provider URL names another"


def open_desk(
    key: Key,
    key_name: str,
    *,
    run: Path | None,
    url: str,
    token: str,
    port: int,
    browse: bool,
    tell: Callable[[str], None],
) -> None:
    """Serve the desk until it is interrupted. ``run``: a run folder for a provider that is started here.

    Raises UsageError where the port is taken, DataError for a run that cannot be read.
    """
    setting = Setting() if run is None else _choose_setting(run)
    with tempfile.TemporaryDirectory() as folder:
        provider = Provider(url, token, run, Path(folder)) if url or run is not None else None
        desk, link = Desk(key, setting, provider, NO_PROVIDER), make_link()
        app = Gate(create_app(Page(desk, key_name)), port, link)
        server = uvicorn.Server(
            uvicorn.Config(app, LOOPBACK[0], port, log_config=None, access_log=False, server_header=False)
        )
        address = f"http://{LOOPBACK[0]}:{port}{link}"
        tell(f"open this link, once: {address}")
        if browse:
            webbrowser.open(address)
        try:
            server.run()
        except SystemExit:  # uvicorn's way to say that the port is taken
            raise UsageError(f"cannot listen on port {port}", hint="choose another", parameters=("port",)) from None


def _choose_setting(run: Path) -> Setting:
    """The setting of a run's images; the default where the page cannot choose it."""
    try:
        return Setting.of_scheme(CipherSpec.from_json(read_record(run).provenance))
    except UsageError:
        return Setting()
