"""How well a classifier of plain images recognises reconstructions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.errors import UsageError

Images = NDArray[np.float32]

RECOGNISED = 0.5
"""Share of a class's images above which it counts as recognised: by definition more than half."""


@dataclass(frozen=True)
class Recognition:
    """Accuracy of a plain-image classifier on reconstructions, and how many classes it gets above RECOGNISED.

    ``classes`` is the number of classes it knows. ``present`` of them are among the ``n`` images, ``answered``
    among its answers. A constant answer recognises one category, so only more than one is evidence.
    """

    accuracy: float
    categories: int
    classes: int
    present: int
    answered: int
    n: int

    def to_json(self) -> dict[str, Any]:
        """All figures, with chance and the threshold."""
        return {**vars(self), "chance": 1 / self.classes, "threshold": RECOGNISED}


def check_classes(classifier: Path, classes: tuple[str, ...]) -> None:
    """Raise UsageError unless a run knows just these classes, in this order."""
    from cipherlens.training.run.record import read_record

    known = read_record(classifier).data.classes
    if tuple(known) != classes:
        raise UsageError(
            f"{classifier} was trained on other classes than those of the images",
            hint=f"train a classifier on plain images of: {', '.join(classes[:10])}{', ...' * (len(classes) > 10)}",
        )


def recognise(images: Images, labels: NDArray[np.int64], classifier: Path) -> Recognition:
    """Classify reconstructions (N, C, H, W), clipped to [0, 1], with a run trained on plain images.

    A category counts as recognised if more than half of its images are.
    """
    from cipherlens.training.run.load import load_run, predict

    run = load_run(classifier, "last")
    said = predict(run, np.clip(np.nan_to_num(images), 0, 1)).argmax(1)
    present = np.unique(labels)
    shares = np.array([(said[labels == label] == label).mean() for label in present])
    return Recognition(
        accuracy=float((said == labels).mean()),
        categories=int((shares > RECOGNISED).sum()),
        classes=len(run.classes),
        present=len(present),
        answered=len(np.unique(said)),
        n=len(labels),
    )
