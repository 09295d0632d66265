"""``cipherlens query``: ask a server about photos that are encrypted here. It needs no torch."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cipherlens.cli.console import emit, progress_bar
from cipherlens.cli.inputs import list_images
from cipherlens.cli.options.keys import ClientKey
from cipherlens.cli.options.service import ServerOptions
from cipherlens.cli.options.types import Json, Whole
from cipherlens.errors import DataError, UsageError
from cipherlens.untrusted import describe, open_regular

_MOST_BYTES = 1 << 30
"""Larger files of answers are refused. A limit on memory."""


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
        File of answers, one JSON object a line. Photos that it has are not asked about again.
    """
    from cipherlens.client import Client

    if top < 1:
        raise UsageError("--top is at least 1")
    items = list_images(images)
    known = {} if out is None else _read_answers(out)
    todo = [item.content for item in items if item.name not in known]
    token = None if server.token_file is None else _read_token(server.token_file)
    options = {"token": token, "ca": server.ca, "scheme": server.sealed, "batch": server.batch}
    with progress_bar("asking") as progress, Client(url, key=keys.load(), model=server.model, **options) as client:
        for first in range(0, len(todo), server.batch):
            group = todo[first : first + server.batch]
            answers = {found.name: _shorten(found.probabilities, top) for found in client.classify(group)}
            known |= answers
            if out is not None:
                _append(out, answers)
            progress(first + len(group), len(todo))
    shown = {item.name: known[item.name] for item in items}
    lines = [f"{name}: " + ", ".join(f"{c} {p:.1%}" for c, p in shares.items()) for name, shares in shown.items()]
    emit({"url": url, "model": server.model, "predictions": shown}, as_json, lines)


def _shorten(probabilities: dict[str, float], top: int) -> dict[str, float]:
    return {name: round(share, 4) for name, share in list(probabilities.items())[:top]}


def _read_token(file: Path) -> str:
    try:
        with open_regular(file, 1 << 16) as opened:
            return opened.readline().decode().strip()
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the token: {describe(error)}", hint="give the file it was saved in") from None


def _read_answers(file: Path) -> dict[str, dict[str, float]]:
    """Answers of an earlier run; a last line that was cut off is asked for again."""
    if not file.exists():
        return {}
    found = {}
    try:
        with open_regular(file, _MOST_BYTES) as opened:
            lines = opened.read().decode().split("\n")
        for line in lines[:-1]:
            answer = json.loads(line)
            found[str(answer["image"])] = dict(answer["classes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} holds no answers of ours: {describe(error)}", hint="choose another file") from None
    if lines[-1]:
        file.write_text("".join(line + "\n" for line in lines[:-1]))
    return found


def _append(file: Path, answers: dict[str, dict[str, float]]) -> None:
    text = "".join(json.dumps({"image": name, "classes": shares}) + "\n" for name, shares in answers.items())
    with file.open("a") as opened:
        opened.write(text)


COMMANDS = (query,)
