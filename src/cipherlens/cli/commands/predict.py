"""``cipherlens predict``: ask a trained model about images."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher
from cipherlens.cli.console import Json, MaxPixels, OptionalKeyFile, PassphraseFile, Whole, emit, load_key
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.images import Item, Preprocess, check_shape, pad_to
from cipherlens.data.sealed.manifest import PLAIN, CipherSpec
from cipherlens.data.sources.folder import IMAGE_SUFFIXES
from cipherlens.errors import DataError, UsageError
from cipherlens.untrusted import describe, read_untrusted

if TYPE_CHECKING:
    from cipherlens.training.run.load import Run


_NPY_HEADER = 1 << 16
_AT_ONCE = 64
"""Images that are read at a time. A limit on memory."""


def predict(
    run: Path,
    images: list[Path],
    *,
    key: OptionalKeyFile = None,
    passphrase_file: PassphraseFile = None,
    top: Whole = 3,
    max_pixels: MaxPixels = MAX_PIXELS,
    masks: Path | None = None,
    feature_maps: Path | None = None,
    owner: str | None = None,
    as_json: Json = False,
) -> None:
    """Classify images: plain ones, encrypted on the spot with the client's key, or ciphertexts in .npy files.

    Parameters
    ----------
    run
        Run folder made by train or lock.
    images
        Image files (with --key), .npy files with one ciphertext (C, H, W), or folders of them.
    top
        How many classes to name.
    masks
        Segmentation: write a PNG per image, one byte per pixel with its class, in the order of the plain image.
    feature_maps
        Locked models: write pictures of the first image's feature maps, put back in order above, as stored below.
    owner
        A run for images under several keys, without --key: the fingerprint of the key of these ciphertexts.
    """
    images = _list_files(images)  # checked before torch is loaded
    from cipherlens.cli.runs import open_run
    from cipherlens.training.run.load import predict as classify

    secret = None if key is None else load_key(key, passphrase_file)
    loaded, lock = open_run(run, "last", secret, owner=owner if secret is None else secret.fingerprint)
    scheme = CipherSpec.from_json(loaded.provenance)
    plain = [path for path in images if path.suffix != ".npy"]
    if plain and key is None and scheme.cipher != PLAIN:
        raise UsageError(
            f"{plain[0]} is a plain image, and the model answers on {scheme.cipher} images",
            hint="give the client's --key, or a ciphertext in a .npy file",
        )
    _check_outputs(loaded, scheme, images, top, masks, feature_maps, key)
    bound = lock or (None if secret is None else scheme.bind(secret))
    preprocess = scheme.preprocess(max_pixels)
    parts = []
    for first in range(0, len(images), _AT_ONCE):
        chosen = images[first : first + _AT_ONCE]
        batch = np.concatenate([_read_image(path, preprocess, scheme, bound, loaded) for path in chosen])
        parts.append(classify(loaded, batch))
    probabilities = np.concatenate(parts)
    written: dict[str, list[str]] = {}
    if masks is not None:
        written["masks"] = _write_masks(masks, images, probabilities, scheme, bound)
    if feature_maps is not None:
        written["feature_maps"] = _write_feature_maps(
            feature_maps, _read_image(images[0], preprocess, scheme, bound, loaded), loaded
        )
    # Of a segmentation model: the share of pixels that each class is expected to cover.
    shares = probabilities.mean(axis=(2, 3)) if loaded.masked else probabilities
    order = np.argsort(-shares, axis=1)[:, :top]
    answers = {
        str(path): {loaded.classes[i]: round(float(row[i]), 4) for i in ranked}
        for path, row, ranked in zip(images, shares, order, strict=True)
    }
    lines = [
        f"{path}: " + ", ".join(f"{name} {share:.1%}" for name, share in found.items())
        for path, found in answers.items()
    ]
    lines += [path for paths in written.values() for path in paths]
    emit({"run": str(run), "predictions": answers, **written}, as_json, lines)


def _list_files(paths: list[Path]) -> list[Path]:
    """The files, and those in folders. Raises DataError for a path that is neither, or a folder without images."""
    found = []
    for path in paths:
        if path.is_dir():
            inside = sorted(
                file
                for file in path.rglob("[!.]*")
                if file.suffix.lower() in (*IMAGE_SUFFIXES, ".npy") and file.is_file()
            )
            if not inside:
                raise DataError(f"{path} holds no images", hint="give image files, .npy files, or folders of them")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"no image {path}", hint="check the path")
    return found


def _check_outputs(
    run: "Run",
    scheme: CipherSpec,
    images: list[Path],
    top: int,
    masks: Path | None,
    feature_maps: Path | None,
    key: Path | None,
) -> None:
    """Refuse what cannot be written, before anything is computed."""
    from cipherlens.keyed import LockedModel

    if top < 1:
        raise UsageError("--top is at least 1")
    for folder in (masks, feature_maps):
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file", hint="name a folder")
    if feature_maps is not None and not (isinstance(run.model, LockedModel) and run.model.feature_maps):
        raise UsageError(
            "the model does not shuffle its feature maps",
            hint="lock it first: cipherlens lock RUN --key KEYFILE --inner shuffled",
        )
    if masks is None:
        return
    if not run.masked:
        raise UsageError("the model gives a class per image, no masks", hint="leave out --masks")
    if len({path.stem for path in images}) < len(images):
        raise UsageError("two images have the same name, and would have the same mask", hint="rename one")
    if key is None and scheme.cipher != PLAIN:
        raise UsageError("without the key a mask cannot be put in order", hint="give the client's --key")


def _read_image(
    path: Path, preprocess: Preprocess, scheme: CipherSpec, bound: BoundCipher | None, run: "Run"
) -> NDArray[Any]:
    """One encrypted image (1, C, H, W), of the shape and dtype that the run was trained on."""
    if path.suffix == ".npy":
        return _read_ciphertext(path, run)
    pixels = preprocess.apply(Item(str(path), -1, path))
    check_shape(pixels, scheme.plain_shape, str(path))
    padded = pad_to(pixels[None], scheme.padded_shape)
    return padded if bound is None else np.asarray(bound.encrypt(padded, [path.name]))


def _read_ciphertext(path: Path, run: "Run") -> NDArray[Any]:
    try:
        limit = _NPY_HEADER + int(np.prod(run.shape)) * np.dtype(run.dtype).itemsize
        ct = np.load(io.BytesIO(read_untrusted(path, limit)), allow_pickle=False)
    except Exception as error:  # of many kinds: the file may be anything
        raise DataError(f"{path} is not a ciphertext: {describe(error)}", hint="give a .npy file") from None
    if isinstance(ct, np.ndarray) and ct.ndim == 3:
        ct = ct[None]
    if not isinstance(ct, np.ndarray) or ct.shape != (1, *run.shape) or ct.dtype != run.dtype:
        raise DataError(
            f"{path} is not one ciphertext of this run",
            hint=f"it takes {run.dtype} arrays of shape {run.shape}, one image a file",
        )
    return ct


def _write_masks(
    folder: Path,
    images: list[Path],
    probabilities: NDArray[np.float32],
    scheme: CipherSpec,
    bound: BoundCipher | None,
) -> list[str]:
    from cipherlens.data.sealed.unseal import decrypt_masks, save_png

    masks = probabilities.argmax(axis=1).astype(np.uint8)
    put_back = masks[:, None] if bound is None else decrypt_masks(scheme, bound, masks)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{path.stem}.png" for path in images]
    for path, mask in zip(paths, put_back, strict=True):
        save_png(mask, path)
    return [str(path) for path in paths]


def _write_feature_maps(folder: Path, image: NDArray[Any], run: "Run") -> list[str]:
    import torch

    from cipherlens.keyed import LockedModel
    from cipherlens.keyed.feature_maps import write_feature_maps
    from cipherlens.keyed.inspection import capture_maps

    assert isinstance(run.model, LockedModel)
    pixels = run.normalization.apply(torch.from_numpy(np.ascontiguousarray(image)).to(run.device))
    return [str(path) for path in write_feature_maps(folder, capture_maps(run.model, pixels))]


COMMANDS = (predict,)
