"""``cipherlens serve`` and ``cipherlens token``: a provider's server. They need the extra ``serve``."""

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from cipherlens.cli.console import emit, say
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.service import LINE, LimitOptions
from cipherlens.cli.options.types import Json, OptionalWhole
from cipherlens.errors import UsageError
from cipherlens.service.place import Place

token = App(name="token", help="Make and revoke the tokens of a server.")
TokenFile = Annotated[Path, Parameter(name="--file")]


def serve(
    *models: Annotated[str, Parameter(required=True)],
    weights: Literal["best", "last"] = "last",
    tokens: Annotated[Path | None, Parameter(group=LINE)] = None,
    keys: GivenKey = GivenKey(),
    place: Annotated[Place, Parameter(name="*", group=LINE, negative=())] = Place(),
    limits: LimitOptions = LimitOptions(),
) -> None:
    """Answer on sealed images over the Open Inference Protocol v2, until it is stopped.

    Parameters
    ----------
    models
        Run folders, or .onnx files made by export; NAME=PATH gives another name. A locked run needs --key, by the
        client's consent.
    weights
        Those of the last epoch, or of the best one.
    tokens
        File made by token create: who may ask. Without it everybody who reaches the port.
    """
    try:
        from cipherlens.service.app import Server, create_app
        from cipherlens.service.batching import Limits
        from cipherlens.service.models import open_models
        from cipherlens.service.serve import serve as run
        from cipherlens.service.tokens import Guard, read_tokens
    except ImportError as error:
        raise UsageError(
            f"a server needs the package {error.name}", hint="pip install 'cipherlens[serve]'"
        ) from None
    place.check()
    if tokens is not None:
        read_tokens(tokens)
    bounds = Limits(
        limits.max_batch,
        limits.max_wait / 1e3,
        limits.max_queue,
        limits.timeout,
        limits.max_body << 20,
        limits.workers,
    )
    found = open_models(models, keys.load(), weights, bounds.threads)
    server = Server(found, bounds, None if tokens is None else Guard(tokens))
    log = logging.getLogger("cipherlens.service")
    log.setLevel(logging.INFO)
    log.addHandler(logging.StreamHandler(sys.stderr))
    log.propagate = False  # each request is one line
    say(*(f"{place.url}/v2/models/{name}" for name in server.models))
    if tokens is None:
        say("note: everybody who reaches this port may ask; --tokens FILE changes that")
    run(create_app(server), place)


@token.command
def create(
    name: str,
    /,
    *,
    file: TokenFile,
    models: list[str] | None = None,
    days: OptionalWhole = None,
    rate: float = 0.0,
    as_json: Json = False,
) -> None:
    """Make a token and show it, once.

    Parameters
    ----------
    name
        Who gets it.
    file
        File of the server's tokens; it holds hashes only.
    models
        Models that it is for; all by default.
    days
        Days until it ends; never by default.
    rate
        Requests per second that it may make; 0 for any number.
    """
    from cipherlens.service.tokens import create_token

    secret = create_token(file, name, tuple(models or ()), days, rate)
    emit({"name": name, "token": secret}, as_json, [secret])


@token.command
def revoke(name: str, /, *, file: TokenFile, as_json: Json = False) -> None:
    """Take a token away; a running server notices.

    Parameters
    ----------
    name
        Who had it.
    file
        File of the server's tokens.
    """
    from cipherlens.service.tokens import revoke_token

    revoke_token(file, name)
    emit({"revoked": name}, as_json, [f"{name}: revoked"])
