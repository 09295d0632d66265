"""``cipherlens desk``: a page on which a data owner watches what the line gives away."""

import os
import sys
from pathlib import Path

from cipherlens.cli.console import say
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.service import read_token
from cipherlens.cli.options.types import Flag, Whole
from cipherlens.client.line import describe_line
from cipherlens.errors import UsageError
from cipherlens.keys import Key
from cipherlens.service.place import Place

DEMO = Path("demo")
"""Where ``cipherlens demo`` leaves a key, and a run that was trained on what it sealed."""
_DEMO_RUN, _DEMO_KEY = DEMO / "run-sealed-read", DEMO / "client.key"


def desk(
    *,
    run: Path | None = None,
    provider: str | None = None,
    model: str = "run",
    token_file: Path | None = None,
    ca: Path | None = None,
    keys: GivenKey = GivenKey(),
    port: Whole = 8765,
    no_browser: Flag = False,
) -> None:
    """Show, on a local page, what a provider gets of your photos, and what an eavesdropper makes of it.

    Key and photos stay in this process. The provider and the eavesdropper are processes of their own, which get
    ciphertexts only.

    Parameters
    ----------
    run
        Run folder for a provider that is started here. By default the demo's, with the demo's key.
    provider
        Address of a server (cipherlens serve) instead.
    model
        Name of the model on that server.
    token_file
        File with the token for that server in its first line.
    ca
        Certificate of the authority that signed that server's, as PEM.
    port
        Port of the page, on this machine only.
    no_browser
        Only show the link.
    """
    try:
        from cipherlens.desk.roles.handles import Provider
        from cipherlens.desk.serve import open_desk
    except ImportError as error:
        raise UsageError(
            f"the desk needs the package {error.name}", hint="pip install 'cipherlens[desk]'"
        ) from None
    if run is not None and provider is not None:
        raise UsageError("give a run or a provider", parameters=("run", "provider"))
    if provider is None and (token_file, ca, model) != (None, None, "run"):
        raise UsageError("these options are for a provider elsewhere", parameters=("model", "token_file", "ca"))
    Place(port=port).check()
    key, name = keys.load(), "" if keys.key is None else str(keys.key)
    if run is None and provider is None and (_DEMO_RUN / "config.json").is_file():
        run = _DEMO_RUN
        if key is None and _DEMO_KEY.is_file():
            key, name = Key.load(_DEMO_KEY), str(_DEMO_KEY)
    line = None if provider is None else describe_line(provider, read_token(token_file), ca, None)
    chosen = run if line is None else Provider(line, model)
    try:
        open_desk(key or Key.generate(), name, chosen, port, say, not no_browser and _has_screen())
    except KeyboardInterrupt:
        say("the desk has ended; what lay on it is gone")


def _has_screen() -> bool:
    return os.name == "nt" or sys.platform == "darwin" or bool(os.environ.get("DISPLAY"))
