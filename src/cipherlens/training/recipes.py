"""Training settings that belong to a model, and are taken unless somebody says otherwise."""

from typing import Any

RECIPES: dict[str, dict[str, Any]] = {
    # airbench94 (Jordan, arXiv:2404.00498): its learning rate per example, at a batch of 1,024 images.
    "speednet": {
        "batch_size": 1024,
        "lr": 1.5,
        "momentum": 0.85,
        "weight_decay": 1.3e-3,
        "bias_lr_scale": 64.0,
        "schedule": "triangular",
        "label_smoothing": 0.2,
        "lookahead": True,
    },
}
PICTURES: dict[str, dict[str, Any]] = {"speednet": {"flip": True, "shift": 2, "views": 2}}
"""What a recipe adds where the model sees pictures."""


def recommend(model: str, pictures: bool) -> dict[str, Any]:
    """Fields of TrainConfig that differ from their defaults; ``pictures``: images are plain, or are read first."""
    return RECIPES.get(model, {}) | (PICTURES.get(model, {}) if pictures else {})
