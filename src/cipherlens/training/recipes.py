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


FEW_STEPS = 100
"""With fewer steps a round, running averages of momentum 0.1 are no statistics yet: 0.9 ** 100 of them is old."""
_NORM_IMAGES = 1_000
"""Training images on which statistics are measured then. Chosen by hand."""


def choose_norm_images(images: int, batch_size: int, epochs: int) -> int:
    """The field norm_images: 0, but for trainings of few steps."""
    return _NORM_IMAGES if epochs * -(-images // batch_size) < FEW_STEPS else 0
