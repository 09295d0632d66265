"""From where an adaptation network starts: what was asked for, or the best that the data sets allow."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cipherlens.api.front_end import choose_network, explain_refusal, find_map
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.errors import UsageError

_notes = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What was asked of a front end. ``block``: None for no adaptation network, 0 for the cipher's block."""

    block: int | None = None
    adaptation: str = "er"
    start: str | None = None
    inverse: str | None = None
    legacy_padding: bool = False
    locked: bool = False


def choose_start(datasets: Sequence[SealedDataset], split: str, wish: Wish) -> dict[str, Any]:
    """Fields of TrainConfig: the adaptation network and its start; from ciphertexts if it can, unless asked.

    A note says why it cannot.
    """
    asked, file, block = wish.start, wish.inverse, wish.block
    network = {"adapt_block": block, "adaptation": wish.adaptation, "legacy_padding": wish.legacy_padding}
    if block is None:  # with a start or a file this is refused, by what it lacks
        return network | {"start": asked or "random", "inverse": file}
    if file is not None and asked not in (None, "inverse"):
        raise UsageError(
            f"the start {asked} takes no map", hint="leave one of them away", parameters=("start", "front_end")
        )
    if file is not None:
        return network | _choose_for_file(Path(file), block) | {"start": "inverse", "inverse": file}
    if asked == "inverse":
        raise UsageError("the start inverse needs the file of a map", hint="name one", parameters=("front_end",))
    if asked == "whitened":
        return network | _choose_whitened(datasets, block, wish.adaptation)
    if wish.adaptation == "er" and not wish.locked and asked != "random":
        reason = _explain_refusal(datasets, split, block, wish.legacy_padding)
        if reason is None:
            kind, own = choose_network(datasets[0].spec)
            return network | {"start": "ciphertexts", "adapt_block": own, "adaptation": kind}
        if asked == "ciphertexts":
            raise UsageError(f"cannot start from ciphertexts: {reason}", hint="use random", parameters=("start",))
        _notes.warning("the adaptation network starts from random numbers: %s", reason)
    return network | {"start": asked or "random", "adapt_block": block or get_block(datasets[0].spec)}


def _choose_whitened(datasets: Sequence[SealedDataset], block: int, adaptation: str) -> dict[str, Any]:
    if len(datasets) > 1 or adaptation != "er":
        raise UsageError(
            "the start whitened is for one data set, and has an adaptation network of its own",
            hint="use random",
            parameters=("start",),
        )
    return {"start": "whitened", "adapt_block": block or get_block(datasets[0].spec)}


def get_block(spec: DatasetSpec) -> int:
    """The block of a scheme. Raises UsageError where it has none."""
    kind, block = choose_network(spec)
    if kind != "er":
        raise UsageError(f"{spec.cipher} has no block", hint="name one", parameters=("adapt_block",))
    return block


def _explain_refusal(datasets: Sequence[SealedDataset], split: str, block: int, legacy_padding: bool) -> str | None:
    if legacy_padding:
        return "its windows are off the grid"
    for dataset in datasets:
        reason = explain_refusal(dataset, split)
        if reason is not None:
            return reason
    if block and any(choose_network(dataset.spec) != ("er", block) for dataset in datasets):
        return f"its windows are {block}x{block}, not the cipher's"
    return None


def _choose_for_file(path: Path, block: int) -> dict[str, Any]:
    from cipherlens.training.front_end.start import get_adaptation

    kind, own = get_adaptation(EstimatedInverse.load(path))
    if block and block != own:
        raise UsageError(
            f"{path} is for blocks of {own}, not {block}", hint="use the cipher's block", parameters=("adapt",)
        )
    return {"adapt_block": own, "adaptation": kind}


def find_maps(
    datasets: Sequence[SealedDataset], split: str, public: str | None, seed: int
) -> list[EstimatedInverse]:
    """The maps that training starts from, found now from each data set."""
    found = []
    for dataset in datasets:
        _notes.info("reading %s from its ciphertexts ...", dataset.root)
        found.append(find_map(dataset, split, public, seed))
    return found


def note_can_decrypt(run: Path) -> None:
    """Warn that the run's weights are as good as the key."""
    _notes.warning("%s can decrypt the images: treat the folder like the key", run)
