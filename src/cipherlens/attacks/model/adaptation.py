"""The report's own decryptor: the adaptation network of a classifier trained on encrypted images and labels.

It needs torch and a run folder, so it is created per run and is not in the registry.
"""

from pathlib import Path
from typing import Any

import numpy as np

from cipherlens.attacks.base import DeclaredAttack, Found, Images, View
from cipherlens.ciphers.structure import KeyStructure, Kind
from cipherlens.ciphers.threat_models import LABELLED
from cipherlens.errors import UsageError

_BATCH = 128
"""Images decrypted at a time: a limit on memory, set by hand."""


class AdaptationAttack(DeclaredAttack):
    """Decrypt with the adaptation network of ``run``, after ``round`` rounds of training (None: all; 0: untrained).

    CAS771 report, section 5.1. The network is trained only to help a classifier, so the gain and offset of its
    channels are arbitrary. Its pictures are scored after the best affine fit per channel. ``owner`` is the
    fingerprint of the attacked key, for a run on images under several keys. Raises UsageError for a run without
    such a network.

    If it finds nothing, the classifier learned without help from this network.
    """

    name = "adaptation"
    threat_model = LABELLED
    summary = (
        "shows what the adaptation network of a classifier, trained on encrypted images and labels, gives on to it"
    )
    alignment = "affine"

    def __init__(self, run: Path, round: int | None = None, owner: str | None = None) -> None:
        from cipherlens.training.run.record import read_record

        config = read_record(run).choose_owner(owner)[0].config
        if config.adapt_block is None:
            raise UsageError(f"{run} has no adaptation network", hint="train it with one", parameters=("adapt",))
        if config.adaptation not in ("er", "whitened"):
            raise UsageError(
                f"the adaptation network of {run} is no decryptor: it gives more channels than an image"
            )
        if round is not None and not 0 <= round <= config.rounds:
            raise UsageError(
                f"{run} has no round {round}", hint=f"its rounds are 1 to {config.rounds}; 0 is untrained"
            )
        if round == 0 and config.start != "random":
            raise UsageError(f"{run} started from {config.start}, not untrained", hint="give a round from 1 on")
        if round == config.rounds:
            round = None
        self.folder, self.round, self.owner = run, round, owner

    @classmethod
    def fits(cls, structure: KeyStructure) -> bool:
        """One map of whole bytes for all blocks, or plain images."""
        return structure.maps_bytes_alike or structure.kind is Kind.NOTHING

    def run(self, view: View) -> Found:
        """Pictures that the adaptation network gives on."""
        return _decrypt(view, self.folder, self.round, self.owner)


def _decrypt(view: View, run: Path, round: int | None, owner: str | None) -> tuple[Images, dict[str, Any]]:
    import torch

    from cipherlens.data.run_files import name_round
    from cipherlens.models import AdaptationNetwork, AdaptedModel
    from cipherlens.training.engine.rounds import strip_prefix
    from cipherlens.training.run.checkpoint import load_into, load_tensors
    from cipherlens.training.run.load import load_run
    from cipherlens.training.run.record import read_record

    loaded = load_run(run, "last", owner=owner)
    assert isinstance(loaded.model, AdaptedModel)
    adapt = loaded.model.adapt
    assert isinstance(adapt, AdaptationNetwork)
    if round == 0:
        torch.manual_seed(loaded.config.seed)
        adapt.conv.reset_parameters()
        adapt.deconv.reset_parameters()
    elif round is not None:
        number = read_record(run).choose_owner(owner)[1]
        stored = load_tensors(run / name_round(round))
        own = stored if number is None else strip_prefix(stored, f"{number}.")
        load_into(adapt, own, name_round(round))
    parts = []
    with torch.inference_mode():
        for start in range(0, len(view.ciphertexts), _BATCH):
            ct = torch.from_numpy(np.ascontiguousarray(view.ciphertexts[start : start + _BATCH])).to(loaded.device)
            parts.append(adapt(loaded.normalization.apply(ct)).cpu().numpy())
    return np.concatenate(parts).astype(np.float32), {"run": run.name, "round": round}
