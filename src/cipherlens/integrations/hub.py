"""``cl.hub``: trained models as folders of the Hugging Face hub, saved, loaded and uploaded."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cipherlens.data.run_files import CARD, PUBLISHED
from cipherlens.errors import DataError, UsageError
from cipherlens.integrations.exports.source import FIRST_LAYER, FRONT_END
from cipherlens.keys import Key
from cipherlens.training.engine.metrics import read_metrics
from cipherlens.training.run.checkpoint import load_tensors, save_tensors
from cipherlens.training.run.derived import write_derived
from cipherlens.training.run.load import WEIGHTS, Run, find_weights, open_run
from cipherlens.training.run.record import read_record, rebuild_model

_FILES = ("config.json", "*.safetensors", "metrics.jsonl", "*.md")
"""What is fetched of a repository."""


def save_pretrained(
    run: str | Path, out: str | Path, *, weights: Literal["best", "last"] = "best", contains_key: bool = False
) -> Path:
    """Write a run into the new folder ``out`` as others expect it: config.json, model.safetensors, README.md.

    :func:`from_pretrained`, ``cipherlens predict`` and, for plain backbones, ``timm.create_model("local-dir:OUT")``
    read it. Nothing to continue the training is in it. A run in whose weights the key can be read needs
    ``contains_key``. A locked run's weights are those of the plain model. Raises UsageError without that consent,
    or where ``out`` exists.
    """
    run, out = Path(run), Path(out)
    record = read_record(run)
    if not contains_key and (record.config.can_decrypt or record.holds_folded_key):
        held = FRONT_END if record.config.can_decrypt else FIRST_LAYER
        raise UsageError(
            f"the weights hold {held}", hint="agree to that, or save another run", parameters=("contains_key",)
        )
    tensors = load_tensors(find_weights(run, weights))
    if not record.owners:
        rebuild_model(record, tensors, WEIGHTS[weights])
    history, config = read_metrics(run), record.config
    places = (_hide_path(place) for place in (config.weights, config.public, config.inverse))
    weights_file, public, inverse = places
    config = replace(config, weights=weights_file, public=public, inverse=inverse)
    with write_derived(
        out, replace(record, config=config), history, "that of the run it was saved from"
    ) as partial:
        save_tensors(partial / PUBLISHED, tensors)
    (out / CARD).replace(out / "README.md")
    return out


def from_pretrained(place: str | Path, *, key: Key | None = None, revision: str | None = None) -> Run:
    """Load a model from a folder of :func:`save_pretrained`, a run folder, or a repository (``NAMESPACE/NAME``).

    A locked model needs the client's ``key``. Raises KeyFailureError without it, DataError where nothing can be
    read or fetched.
    """
    folder = Path(place)
    if folder.is_dir():
        return open_run(folder, "best", key)[0]
    with tempfile.TemporaryDirectory() as copy:
        _fetch(str(place), revision, Path(copy))
        return open_run(Path(copy), "best", key)[0]


def push_to_hub(
    run: str | Path,
    repo: str,
    *,
    weights: Literal["best", "last"] = "best",
    contains_key: bool = False,
    private: bool = True,
    token: str | None = None,
) -> str:
    """Save a run as :func:`save_pretrained` does, upload it to the repository ``repo``, return the commit's URL.

    A new repository is private unless ``private`` is False. Raises DataError where the hub cannot be reached, or
    refuses.
    """
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as folder:
        saved = save_pretrained(run, Path(folder) / "model", weights=weights, contains_key=contains_key)
        api = HfApi(token=token)
        try:
            api.create_repo(repo, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo, folder_path=saved).commit_url)
        except Exception as error:  # of many kinds
            raise DataError(
                f"cannot upload to {repo}: {error}", hint="check the name, token and network"
            ) from error


def _hide_path(place: str | None) -> str | None:
    """A file's name without its folders, which are of this machine."""
    return None if place is None else Path(place).name


def _fetch(repo: str, revision: str | None, copy: Path) -> None:
    """Fetch a repository's files into the hub's cache, and copy them: there they are links."""
    from huggingface_hub import snapshot_download

    try:
        found = Path(snapshot_download(repo, revision=revision, allow_patterns=list(_FILES)))
        for file in found.iterdir():
            if file.is_file():
                shutil.copyfile(file, copy / file.name)
    except Exception as error:  # of many kinds
        raise DataError(
            f"there is no folder {repo}, and it cannot be fetched: {error}",
            hint="give a folder that save_pretrained wrote, or NAMESPACE/NAME of the hub",
        ) from error
