"""How well a classifier of plain images recognises reconstructions: what a person would want to know first."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]

RECOGNISED = 0.5


@dataclass(frozen=True)
class Recognition:
    """Accuracy of a plain-image classifier on reconstructions, and how many classes it gets above RECOGNISED."""

    accuracy: float
    categories: int
    classes: int
    n: int

    def to_json(self) -> dict[str, Any]:
        """All figures, with chance and the threshold."""
        return {**vars(self), "chance": 1 / self.classes, "threshold": RECOGNISED}


def recognise(images: Images, labels: NDArray[np.int64], classifier: Path) -> Recognition:
    """Classify reconstructions (N, C, H, W), clipped to [0, 1], with a run trained on plain images.

    A category counts as recognised if more than half of its images are.
    """
    from cipherlens.train.run import load_run, predict

    run = load_run(classifier, "last")
    said = predict(run, np.clip(np.nan_to_num(images), 0, 1)).argmax(1)
    present = np.unique(labels)
    shares = np.array([(said[labels == label] == label).mean() for label in present])
    return Recognition(
        float((said == labels).mean()), int((shares > RECOGNISED).sum()), len(run.classes), len(labels)
    )
