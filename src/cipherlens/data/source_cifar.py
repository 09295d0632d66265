"""CIFAR-10 and -100 as a source."""

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.errors import DataError


@dataclass(frozen=True)
class _CifarLayout:
    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names: str
    labels: str


CIFAR = {
    "cifar10": _CifarLayout(
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        ("test_batch",),
        "batches.meta",
        "label_names",
        "labels",
    ),
    "cifar100": _CifarLayout("cifar-100-python", ("train",), ("test",), "meta", "fine_label_names", "fine_labels"),
}


class CifarSource:
    """CIFAR-10 or -100 in torchvision's layout (the folder that ``download=True`` makes)."""

    masked = False

    def __init__(self, root: Path, kind: str) -> None:
        layout = CIFAR[kind]
        folder = root if root.name == layout.folder else root / layout.folder
        if not folder.is_dir():
            raise DataError(
                f"no {layout.folder} in {root}",
                hint=f"fetch it with torchvision.datasets.{kind.upper()}({str(root)!r}, download=True)",
            )
        self.classes = tuple(_unpickle(folder / layout.meta)[layout.names])
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._labels: dict[str, list[int]] = {}
        for split, files in (("train", layout.train), ("test", layout.test)):
            parts = [_unpickle(folder / name) for name in files]
            self._images[split] = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
            self._labels[split] = [label for part in parts for label in part[layout.labels]]
        self.splits = {split: len(images) for split, images in self._images.items()}

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions."""
        images, labels = self._images[split], self._labels[split]
        return [Item(f"{split} image {i}", int(labels[i]), images[i]) for i in map(int, indices)]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split."""
        return np.array(self._labels[split], np.int64)


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays, lists and strings only: a CIFAR batch must not be able to run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] == "numpy" and name in {"_reconstruct", "ndarray", "dtype"}:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"refused {module}.{name}")


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        loaded = _ArrayUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        return dict(loaded)
    except (OSError, pickle.UnpicklingError, ValueError, EOFError, AttributeError, IndexError) as error:
        raise DataError(f"{path} is not a CIFAR batch: {error}", hint="download the data set again") from None
