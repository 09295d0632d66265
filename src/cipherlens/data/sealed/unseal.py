"""Decrypt a sealed data set into an image folder, with the key or with a map."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.ciphers import BoundCipher
from cipherlens.ciphers.estimated_inverse import EstimatedInverse, Target
from cipherlens.data.partial import PRIVATE_FOLDER, move_into_place, partial_folder, require_empty
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.shards import decrypt_masks, name_images
from cipherlens.data.sealed.spec import CipherSpec
from cipherlens.data.storage.url import Place, refuse_inside
from cipherlens.errors import UsageError
from cipherlens.files import PRIVATE, write_new
from cipherlens.keys import Key

Tensors = dict[str, NDArray[Any]]
Pictures = tuple[NDArray[np.uint8], NDArray[np.uint8] | None]
"""Images (N, C, H, W), and their masks (N, 1, H, W) where there are some."""
Reader = Callable[[str, Tensors], Pictures]
"""Function from a split and the tensors of a batch to its pictures."""
_BATCH = 512
"""Images that are decrypted at a time. A limit on memory."""


def decrypt_batch(
    spec: CipherSpec, bound: BoundCipher, ct: NDArray[Any], image_ids: Sequence[object] | None = None
) -> NDArray[np.uint8]:
    """Ciphertexts (N, C, H, W) -> uint8 images of the plain shape, padding removed."""
    _, height, width = spec.plain_shape
    plain: NDArray[np.uint8] = bound.decrypt(ct, "uint8", image_ids)[:, :, :height, :width]
    return plain


def unseal(
    sealed: str | Place, out: str | Path, key: Key, progress: Callable[[int, int], None] | None = None
) -> int:
    """Decrypt into ``out/SPLIT/CLASS/POSITION.png`` and return the number of images.

    Images with masks are written to ``out/SPLIT/POSITION.png``, their masks to ``out/SPLIT/masks/POSITION.png``.

    ``out`` appears when all images are written, and only its owner can read it. Raises KeyFailureError for another
    key, DataError for a damaged data set, CipherlensError where another process decrypts to ``out``.
    """
    dataset = SealedDataset.open(sealed, key)
    spec, bound = dataset.spec, dataset.spec.bind(key)

    def decrypt(split: str, batch: Tensors) -> Pictures:
        names = name_images(spec.id, split, batch["index"].tolist())
        _, height, width = spec.plain_shape
        masks = decrypt_masks(bound, batch["masks"])[:, None, :height, :width] if spec.masked else None
        return decrypt_batch(spec, bound, batch["images"], names), masks

    return _write_pictures(dataset, Path(out), decrypt, progress)


def read_with_map(
    sealed: Place, out: Path, inverse: EstimatedInverse, progress: Callable[[int, int], None] | None = None
) -> int:
    """Decrypt without the key: as :func:`unseal`, with a map that an attack has found.

    Raises KeyFailureError for a map of other images, UsageError for a data set with masks.
    """
    dataset = SealedDataset.open(sealed)
    spec = dataset.spec
    inverse.require_target(Target.of(spec.to_json()))
    if spec.masked:
        raise UsageError("a map reads images, no masks", hint="decrypt the data set with its key")
    _, height, width = spec.plain_shape

    def read(split: str, batch: Tensors) -> Pictures:
        found = np.clip(inverse.apply(batch["images"]), 0, 1)
        return np.rint(255 * found).astype(np.uint8)[:, :, :height, :width], None

    return _write_pictures(dataset, out, read, progress)


def _write_pictures(
    dataset: SealedDataset, out: Path, read: Reader, progress: Callable[[int, int], None] | None
) -> int:
    refuse_inside(out, dataset.root)
    require_empty(out)
    with partial_folder(out) as partial:
        count = _write_images(dataset, partial / "images", read, progress)
        move_into_place(partial / "images", out)
    return count


def _write_images(
    dataset: SealedDataset, out: Path, read: Reader, progress: Callable[[int, int], None] | None
) -> int:
    total, done = sum(dataset.splits.values()), 0
    out.mkdir(PRIVATE_FOLDER)
    with ThreadPoolExecutor() as pool:
        for name in dataset.splits:
            folders = _make_folders(out / name, ("masks",) if dataset.spec.masked else dataset.spec.classes)
            for shard in dataset.list_shards(name):
                # The copy is checked and decrypted, so later changes of the file are ignored.
                tensors = dataset.load_shard(shard, copied=True)
                for start in range(0, shard.n, _BATCH):
                    batch = {kind: tensor[start : start + _BATCH] for kind, tensor in tensors.items()}
                    _write_batch(batch, read(name, batch), folders, pool)
                    done += len(batch["index"])
                    if progress:
                        progress(done, total)
    return done


def _write_batch(batch: Tensors, pictures: Pictures, folders: dict[int, Path], pool: ThreadPoolExecutor) -> None:
    images, masks = pictures
    positions = batch["index"].tolist()
    labels = [-1] * len(positions) if masks is not None else batch["labels"].tolist()
    paths = [folders[label] / f"{position:06d}.png" for label, position in zip(labels, positions, strict=True)]
    list(pool.map(_write_private_png, images, paths))
    if masks is not None:
        paths = [folders[0] / f"{position:06d}.png" for position in positions]
        list(pool.map(_write_private_png, masks, paths))


def _make_folders(root: Path, classes: tuple[str, ...]) -> dict[int, Path]:
    # A class name is untrusted: it must not name a path outside the destination.
    names = {label: name.replace("/", "_").replace("\\", "_").strip(".") for label, name in enumerate(classes)}
    folders = {-1: root} | {label: root / (name or f"class-{label}") for label, name in names.items()}
    for folder in folders.values():
        folder.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    return folders


def _write_private_png(image: NDArray[np.uint8], path: Path) -> None:
    content = io.BytesIO()
    save_png(image, content)
    write_new(path, content.getbuffer(), mode=PRIVATE)


def save_png(image: NDArray[np.uint8], file: Path | BinaryIO) -> None:
    """Write (C, H, W) uint8, C = 3 or 1, as PNG."""
    picture = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    Image.fromarray(picture).save(file, "PNG", compress_level=1)
