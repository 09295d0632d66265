"""``cipherlens key``: what is done with keys after keygen."""

import os
from dataclasses import asdict
from typing import Annotated

from cyclopts import App, Parameter

from cipherlens.cli.console import emit, progress_bar, say
from cipherlens.cli.options.keys import BothKeys
from cipherlens.cli.options.types import WORK, Discard, Json, OptionalWhole, SealedSet

app = App(name="key", help="Rotate the key of sealed images.")


@app.command
def rotate(
    sealed: SealedSet,
    /,
    *,
    keys: BothKeys = BothKeys(),
    workers: Annotated[OptionalWhole, Parameter(group=WORK)] = None,
    discard: Discard = False,
    as_json: Json = False,
) -> None:
    """Seal a data set under a new key, in its folder.

    Until the end it stays as it was, and can be read. Interrupted, the same command continues.

    Parameters
    ----------
    sealed
        Folder made by encrypt.
    workers
        Worker processes; all cores by default.
    """
    from cipherlens.data.sealed.rotation import discard_rotation, rotate_key

    if discard:
        removed = list(map(str, discard_rotation(sealed)))
        emit({"discarded": removed}, as_json, [f"{len(removed)} files of an unfinished rotation removed"])
        return
    old, new = keys.load()
    with progress_bar("rotating") as progress:
        report = rotate_key(sealed, old, new, workers or os.cpu_count() or 1, progress)
    say(
        "note: copies made before stay readable with the old key, and so do backups",
        "note: models, maps and audits of the old ciphertexts are not for the new ones",
    )
    reused = f", {report.reused} of them from an earlier run" if report.reused else ""
    emit(
        {"sealed": str(sealed), "fingerprint": new.fingerprint, **asdict(report)},
        as_json,
        [
            f"{sealed}: {report.images} images now sealed with key {new.fingerprint}",
            f"{report.shards} shards{reused}, {report.seconds:.1f} s",
        ],
    )
