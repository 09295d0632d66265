"""``cipherlens query``: ask a server about photos that are encrypted here. It needs no torch."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cipherlens.cli.answers import FORMAT, Answers
from cipherlens.cli.console import emit, progress_bar
from cipherlens.cli.inputs import list_images
from cipherlens.cli.options.keys import ClientKey
from cipherlens.cli.options.service import ServerOptions, read_token
from cipherlens.cli.options.types import Json, Whole
from cipherlens.errors import UsageError


def query(
    url: str,
    /,
    *images: Annotated[str, Parameter(required=True)],
    keys: ClientKey,
    server: ServerOptions = ServerOptions(),
    top: Whole = 3,
    out: Path | None = None,
    as_json: Json = False,
) -> None:
    """Classify photos on a server. They are encrypted here; neither they nor the key leave this machine.

    Parameters
    ----------
    url
        Address of the server: https://HOST:PORT.
    images
        Image files, folders, or patterns in quotes ('photos/*.jpg').
    top
        How many classes to name.
    out
        File of answers, one JSON object a line. Photos that it has, as they are now, are not asked about again.
    """
    from cipherlens.client import Client

    if top < 1:
        raise UsageError("--top is at least 1")
    items, key = list_images(images), keys.load()
    about = {"answers": FORMAT, "url": url, "model": server.model, "key_fingerprint": key.fingerprint, "top": top}
    answers = Answers(out, about, key)
    todo = [item for item in items if item not in answers]
    token = read_token(server.token_file)
    options = {"token": token, "ca": server.ca, "scheme": server.sealed, "batch": server.batch}
    with progress_bar("asking") as progress, Client(url, key=key, model=server.model, **options) as client:
        for first in range(0, len(todo), server.batch):
            group = todo[first : first + server.batch]
            found = client.classify([item.content for item in group])
            answers.add(group, [_shorten(answer.probabilities, top) for answer in found])
            progress(first + len(group), len(todo))
    shown = {item.name: answers[item] for item in items}
    lines = [f"{name}: " + ", ".join(f"{c} {p:.1%}" for c, p in shares.items()) for name, shares in shown.items()]
    emit({"url": url, "model": server.model, "predictions": shown}, as_json, lines)


def _shorten(probabilities: dict[str, float], top: int) -> dict[str, float]:
    return {name: round(share, 4) for name, share in list(probabilities.items())[:top]}
