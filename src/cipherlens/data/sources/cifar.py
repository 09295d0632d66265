"""CIFAR-10 and -100 as a source."""

import io
import pickle
import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.data.images import Item
from cipherlens.data.sources.checks import FileFacts, check_class_names, describe_file, shorten
from cipherlens.errors import DataError
from cipherlens.untrusted import open_regular

MAX_BATCH_BYTES = 256 << 20
"""Maximum bytes of a batch file; the largest one, CIFAR-100's training images, has 155 million."""

_MAX_OPCODES = 1_000_000  # a genuine batch has 200,000
_MAX_TUPLES = 1000  # hashing deeply nested tuples overflows the stack; a genuine batch has only a few
_VALUES = 3 * 32 * 32
"""Values of a CIFAR image. Definition."""
_HINT = "download the data set again"


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
    """CIFAR-10 or -100 in torchvision's layout (the folder made by ``download=True``).

    Raises DataError where a file is missing or is not a CIFAR batch.
    """

    masked = False

    def __init__(self, root: Path, kind: str) -> None:
        layout = CIFAR[kind]
        folder = root if root.name == layout.folder else root / layout.folder
        if not folder.is_dir():
            raise DataError(
                f"no {layout.folder} in {root}",
                hint=f"fetch it with torchvision.datasets.{kind.upper()}({str(root)!r}, download=True)",
            )
        paths = [folder / name for name in (layout.meta, *layout.train, *layout.test)]
        self.files: tuple[FileFacts, ...] = tuple(sorted(map(describe_file, paths)))
        self.classes = _read_names(folder / layout.meta, layout.names)
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._labels: dict[str, NDArray[np.int64]] = {}
        for split, files in (("train", layout.train), ("test", layout.test)):
            parts = [_read_batch(folder / name, layout.labels, len(self.classes)) for name in files]
            self._images[split] = np.concatenate([images for images, _ in parts]).reshape(-1, 3, 32, 32)
            self._labels[split] = np.concatenate([labels for _, labels in parts])
        self.splits = {split: len(images) for split, images in self._images.items()}

    def read(self, split: str, indices: Sequence[int]) -> list[Item]:
        """The images at these positions."""
        images, labels = self._images[split], self._labels[split]
        return [Item(f"{split} image {i}", int(labels[i]), images[i]) for i in map(int, indices)]

    def read_labels(self, split: str) -> NDArray[np.int64]:
        """All labels of a split."""
        return self._labels[split]


def _read_names(path: Path, key: str) -> tuple[str, ...]:
    names = _unpickle(path).get(key)
    if not isinstance(names, list):
        raise DataError(f"{path} has no list {key!r}", hint=_HINT)
    check_class_names(names)
    return tuple(names)


def _read_batch(path: Path, key: str, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 3072) and labels (N,) of a batch file. Raises DataError unless it holds both."""
    batch = _unpickle(path)
    data, labels = batch.get("data"), batch.get(key)
    images = data.values if isinstance(data, _Array) else None
    if images is None or images.ndim != 2 or images.shape[1] != _VALUES:
        raise DataError(f"{path} has no images: 'data' is no array of bytes (N, {_VALUES})", hint=_HINT)
    if not isinstance(labels, list) or len(labels) != len(images):
        raise DataError(f"{path} has no list {key!r} with a label for each image", hint=_HINT)
    if not all(type(label) is int and 0 <= label < classes for label in labels):
        raise DataError(f"{path} has labels that are no whole numbers from 0 to {classes - 1}", hint=_HINT)
    return images, np.array(labels, np.int64)


class _Array:
    """An unpickled array of bytes, ``values``; it allocates no more than the file holds."""

    values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_column, raw = state
        if not isinstance(dtype, _Bytes):
            raise pickle.UnpicklingError("refused an array without a type")
        content = raw.encode("latin1") if isinstance(raw, str) else raw  # as Python 2 wrote it
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_column else "C")


class _Bytes:
    """The unpickled type uint8."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        """Ignore byte order and alignment, which bytes do not have."""


# A pickle calls these in place of numpy's functions, which would allocate any size that it asks for. They are
# objects without attributes, not functions, because a pickle can change attributes.
class _MakeArray:
    __slots__ = ()

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _MakeType:
    __slots__ = ()

    def __call__(self, kind: Any, *_: Any) -> _Bytes:
        if kind not in ("u1", "uint8"):
            raise pickle.UnpicklingError("refused an array of another type than uint8")
        return _Bytes()


class _Encode:
    __slots__ = ()

    def __call__(self, text: str, _: Any = None) -> bytes:
        return text.encode("latin1")  # how Python 3 writes bytes for Python 2


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays of bytes, lists and strings only, so that a CIFAR batch cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] == "numpy" and name in {"_reconstruct", "ndarray", "dtype"}:
            return {"_reconstruct": _MakeArray(), "dtype": _MakeType(), "ndarray": None}[name]
        if (module, name) == ("_codecs", "encode"):
            return _Encode()
        raise pickle.UnpicklingError(f"refused {module}.{name}")


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        with open_regular(path, MAX_BATCH_BYTES) as file:
            content = file.read()
        _check_opcodes(content)
        loaded = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a forged pickle can raise any exception
        reason = shorten(str(error) or type(error).__name__, 200)
        raise DataError(f"{path} is not a CIFAR batch: {reason}", hint=_HINT) from None
    if not isinstance(loaded, dict):
        raise DataError(f"{path} is not a CIFAR batch: it holds no dictionary", hint=_HINT)
    return loaded


def _check_opcodes(content: bytes) -> None:
    """Raise UnpicklingError where unpickling would exhaust the memory or the stack."""
    tuples = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        tuples += opcode.name.startswith("TUPLE")
        if count >= _MAX_OPCODES or tuples > _MAX_TUPLES:
            raise pickle.UnpicklingError("refused, it is too long or too deep")
        # The unpickler's memo table is as long as its highest index.
        if "PUT" in opcode.name and int(argument or 0) > count:
            raise pickle.UnpicklingError("refused, it numbers things that are not there")
