"""Adapt a published pretrained network: keep its classes that occur in a data set, and add a front end."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cipherlens.data.run_files import BEST, LAST
from cipherlens.errors import UsageError
from cipherlens.models import create_model
from cipherlens.models.adaptation.network import list_heads
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.batches import ImageSet, has_masks
from cipherlens.training.engine.owners import Owner
from cipherlens.training.front_end.adapt import FindMap, create_front_end, join_weights
from cipherlens.training.front_end.maps import write_maps
from cipherlens.training.front_end.start import choose_range
from cipherlens.training.run.checkpoint import save_tensors
from cipherlens.training.run.derived import refuse_existing, write_derived
from cipherlens.training.run.record import DataRecord, RunRecord, rebuild_model


def adapt_pretrained(
    model: str,
    weights: Path | None,
    out: Path,
    owner: Owner,
    images: ImageSet,
    find: FindMap,
    start: Mapping[str, Any],
) -> RunRecord:
    """Write into the new folder ``out`` a run of timm's pretrained ``model`` behind a front end, without training.

    ``find`` returns the map that reads ``images``. The weights come from a file, or are downloaded where
    ``weights`` is None. The classes of ``images`` must have ImageNet's names: synsets or words. Raises UsageError
    for an unknown class, or for masks.
    """
    if has_masks(images):
        raise UsageError("a pretrained classifier gives no masks", hint="adapt a run for segmentation")
    refuse_existing(out)
    backbone = cut_classes(model, weights, images.classes, images.shape)
    inverse = find()
    pretrained = weights is None
    config = TrainConfig(
        model=model,
        pretrained=pretrained,
        weights=None if pretrained else str(weights),
        adapt_block=owner.adapt_block,
        adaptation=owner.adaptation,
        **start,
    )
    channels, height, width = images.shape
    nothing = hashlib.sha256().hexdigest()
    data = DataRecord(images.classes, (channels, height, width), owner.dtype, 0, 0, nothing)
    picture = choose_range(backbone, channels, True)
    record = RunRecord(config, data, owner.normalization, owner.provenance, picture)
    front_end = create_front_end(owner, images, inverse, picture)
    tensors = join_weights(backbone.state_dict(), front_end, None)
    rebuild_model(record, tensors, model)
    with write_derived(out, record, [], "nothing was trained") as partial:
        for name in (BEST, LAST):
            save_tensors(partial / name, tensors)
        write_maps(partial, record, [inverse])
    return record


def cut_classes(
    name: str, weights: Path | None, classes: tuple[str, ...], shape: tuple[int, int, int]
) -> nn.Module:
    """A pretrained classifier (N, C, H, W) -> (N, classes); its last layer keeps only the rows of ``classes``."""
    import timm.data

    if not timm.is_model(name):
        raise UsageError(f"{name} is neither a run folder nor a timm model", hint="check the path")
    known = timm.get_pretrained_cfg(name)
    options: dict[str, Any] = {
        "in_chans": shape[0],
        "image_size": shape[1:],
        "weights": weights,
        "pretrained": weights is None,
    }
    whole = create_model(name, num_classes=known.num_classes, **options)
    subset = timm.data.infer_imagenet_subset(whole)
    if subset is None:
        raise UsageError(f"it is not known which classes {name} tells apart", hint="adapt a run of your own")
    rows = _find_rows(classes, timm.data.ImageNetInfo(subset))
    heads = tuple(f"{head}." for head in list_heads(whole))
    tensors: dict[str, Tensor] = {
        part: value[rows] if part.startswith(heads) else value for part, value in whole.state_dict().items()
    }
    with torch.random.fork_rng(devices=[]):
        own = create_model(name, num_classes=len(classes), in_chans=shape[0], image_size=shape[1:])
    own.load_state_dict(tensors)
    return own


def _find_rows(classes: tuple[str, ...], info: Any) -> list[int]:
    rows: dict[str, int] = {}
    for row, (synset, words) in enumerate(zip(info.label_names(), info.label_descriptions(), strict=True)):
        for word in (synset, *words.split(",")):
            rows.setdefault(word.strip().casefold(), row)
    unknown = [name for name in classes if name.casefold() not in rows]
    if unknown:
        raise UsageError(
            f"the network knows no {', '.join(unknown[:5])}", hint="name classes by ImageNet's synsets or words"
        )
    return [rows[name.casefold()] for name in classes]
