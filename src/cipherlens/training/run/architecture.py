"""What config.json says to timm and the hub: an architecture that timm builds, or a name by which it refuses."""

from typing import Any

from cipherlens.ciphers.structure import Shape
from cipherlens.models.backbones import OWN_MODELS, SIZED_MODELS
from cipherlens.training.config import TrainConfig
from cipherlens.training.engine.normalization import Normalization

PREFIX = "cipherlens"
"""Start of the names that timm does not know."""
_RESIZED_ALIKE = ("vit_", "deit_", "deit3_", "eva02_", "beit")
"""Networks that timm builds for another size of images as we do; windows of others (swin) would differ."""
_KEPT = ("first_conv", "classifier", "fixed_input_size")
"""What of timm's own configuration is about the architecture, not the weights."""


def describe_architecture(
    config: TrainConfig, classes: tuple[str, ...], shape: Shape, normalization: Normalization, owners: int
) -> dict[str, Any]:
    """The fields that ``timm.create_model("local-dir:RUN")`` reads.

    Only a plain backbone of timm has its name there. A run with a front end, a locked one, one with several owners,
    and networks of this project have a name that timm refuses, and that says why.
    """
    name = describe_kind(config, owners)
    if name.startswith(PREFIX):
        return {"architecture": name}
    import timm

    found = timm.get_pretrained_cfg(name)
    published = {} if found is None else found.to_dict()
    size = tuple(published.get("input_size", shape))[1:]
    if published.get("fixed_input_size") and size != shape[1:] and not name.startswith(_RESIZED_ALIKE):
        return {"architecture": f"{PREFIX}:resized:{name}"}
    arguments: dict[str, Any] = {} if shape[0] == 3 else {"in_chans": shape[0]}
    if published.get("fixed_input_size"):
        arguments["img_size"] = list(shape[1:])
    kept = {field: published[field] for field in _KEPT if field in published}
    return {
        "architecture": name,
        "num_classes": len(classes),
        "label_names": list(classes),
        "model_args": arguments,
        "pretrained_cfg": {
            **kept,
            "input_size": list(shape),
            "mean": list(normalization.mean),
            "std": list(normalization.std),
            "crop_pct": 1.0,
            "num_classes": len(classes),
        },
    }


def describe_kind(config: TrainConfig, owners: int) -> str:
    """The model's name in timm, or one that says why timm has none."""
    kinds = {
        "several-keys": owners > 0,
        "locked": config.lock is not None,
        "front-end": config.adapt_block is not None,
        "small-stem": config.small_stem,
    }
    kind = next((kind for kind, found in kinds.items() if found), None)
    if kind is not None:
        return f"{PREFIX}:{kind}:{config.model}"
    return f"{PREFIX}:{config.model}" if config.model in {*OWN_MODELS, *SIZED_MODELS} else config.model
