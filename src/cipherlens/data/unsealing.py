"""Unsealing: a sealed data set and its key back into an image folder."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cipherlens.ciphers import BoundCipher
from cipherlens.data.manifest import Scheme
from cipherlens.data.sealed import SealedDataset
from cipherlens.data.shards import name_images
from cipherlens.errors import UsageError
from cipherlens.keys import Key

_BATCH = 512


def decrypt_batch(
    plan: Scheme, bound: BoundCipher, ct: NDArray[Any], numbers: Sequence[object] | None = None
) -> NDArray[np.uint8]:
    """Ciphertexts (N, C, H, W) -> uint8 images of the plain shape, padding removed."""
    _, height, width = plan.plain_shape
    plain: NDArray[np.uint8] = bound.decrypt(ct, "uint8", numbers)[:, :, :height, :width]
    return plain


def decrypt_masks(plan: Scheme, bound: BoundCipher, masks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Encrypted masks (N, H, W) -> masks (N, 1, H, W) of the plain shape."""
    repeated = np.broadcast_to(masks[:, None], (len(masks), *bound.ct_shape))
    return decrypt_batch(plan, bound, repeated)[:, :1]


def unseal(sealed: Path, out: Path, key: Key, progress: Callable[[int, int], None] | None = None) -> int:
    """Decrypt into ``out/SPLIT/CLASS/POSITION.png`` and return the number of images.

    Images with masks go to ``out/SPLIT/POSITION.png``, their masks to ``out/SPLIT/masks/POSITION.png``.

    ``out`` appears only when all is written. Raises KeyFailure for another key, DataError for damage.
    """
    dataset = SealedDataset.open(sealed, key)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty", hint="choose a new destination")
    dataset.verify()
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        count = _write_images(dataset, partial, key, progress)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return count


def _write_images(dataset: SealedDataset, out: Path, key: Key, progress: Callable[[int, int], None] | None) -> int:
    bound = dataset.plan.bind(key)
    total, done = sum(dataset.splits.values()), 0
    out.mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        for name in dataset.splits:
            split = dataset.split(name)
            masks = split.masks
            folders = _make_folders(out / name, ("masks",) if masks is not None else dataset.plan.classes)
            for start in range(0, len(split), _BATCH):
                chosen = np.arange(start, min(start + _BATCH, len(split)))
                images = decrypt_batch(
                    dataset.plan, bound, split.read(chosen), name_images(name, split.index[chosen].tolist())
                )
                paths = [
                    folders[-1 if masks is not None else int(split.labels[i])] / f"{int(split.index[i]):06d}.png"
                    for i in chosen
                ]
                list(pool.map(save_png, images, paths))
                if masks is not None:
                    shown = decrypt_masks(dataset.plan, bound, masks[chosen])
                    names = [out / name / "masks" / f"{int(split.index[i]):06d}.png" for i in chosen]
                    list(pool.map(save_png, shown, names))
                done += len(chosen)
                if progress:
                    progress(done, total)
    return done


def _make_folders(root: Path, classes: tuple[str, ...]) -> dict[int, Path]:
    # A class name comes from the data: it must not be able to name a place outside the destination.
    names = {label: name.replace("/", "_").replace("\\", "_").strip(".") for label, name in enumerate(classes)}
    folders = {-1: root} | {label: root / (name or f"class-{label}") for label, name in names.items()}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def save_png(image: NDArray[np.uint8], path: Path) -> None:
    """Write (C, H, W) uint8, C = 3 or 1."""
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)).squeeze()).save(path, compress_level=1)
