"""``cipherlens predict``: ask a trained model about images."""

import io
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher
from cipherlens.cli.console import emit
from cipherlens.cli.inputs import is_ciphertext, list_images
from cipherlens.cli.options.images import MaxPixels
from cipherlens.cli.options.keys import GivenKey
from cipherlens.cli.options.types import Json, Whole
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.images import Item, Preprocess, check_shape, pad_to
from cipherlens.data.sealed.spec import PLAIN, CipherSpec
from cipherlens.errors import DataError, UsageError
from cipherlens.files import write_atomic
from cipherlens.keys import Key
from cipherlens.untrusted import describe, read_untrusted

if TYPE_CHECKING:
    from cipherlens.training.run.load import Run


_NPY_HEADER = 1 << 16
_AT_ONCE = 64
"""Images that are read at a time. A limit on memory."""


def predict(
    run: Path,
    /,
    *images: Annotated[str, Parameter(required=True)],
    top: Whole = 3,
    owner: str | None = None,
    masks: Path | None = None,
    feature_maps: Path | None = None,
    keys: GivenKey = GivenKey(),
    max_pixels: MaxPixels = MAX_PIXELS,
    as_json: Json = False,
) -> None:
    """Classify images: plain ones, encrypted on the spot with the client's key, or ciphertexts in .npy files.

    Parameters
    ----------
    run
        Run folder made by train or lock.
    images
        Image files (with --key), .npy files with one ciphertext (C, H, W), folders or patterns ('photos/*.jpg') of
        them, or - for one on stdin.
    top
        How many classes to name.
    owner
        A run for images under several keys, without --key: the fingerprint of the key of these ciphertexts.
    masks
        Segmentation: write a PNG per image, one byte per pixel with its class, in the order of the plain image.
    feature_maps
        Locked models: write pictures of the first image's feature maps, put back in order above, as stored below.
    max_pixels
        Most pixels of a picture; a larger one is refused.
    """
    items = list_images(images)  # checked before torch is loaded
    from cipherlens.training.run.load import open_run
    from cipherlens.training.run.load import predict as classify

    secret = keys.load()
    loaded, lock = open_run(run, "last", secret, owner=owner if secret is None else secret.fingerprint)
    scheme = CipherSpec.from_json(loaded.provenance)
    plain = [item.name for item in items if not is_ciphertext(item)]
    if plain and secret is None and scheme.cipher != PLAIN:
        raise UsageError(
            f"{plain[0]} is a plain image, and the model answers on {scheme.cipher} images",
            hint="give the client's --key, or a ciphertext in a .npy file",
        )
    _check_outputs(loaded, scheme, items, top, masks, feature_maps, secret)
    bound = lock or (None if secret is None else scheme.bind(secret))
    read = partial(_read_image, preprocess=scheme.preprocess(max_pixels), scheme=scheme, bound=bound, run=loaded)
    groups = (items[first : first + _AT_ONCE] for first in range(0, len(items), _AT_ONCE))
    probabilities = np.concatenate([classify(loaded, np.concatenate(list(map(read, group)))) for group in groups])
    written: dict[str, list[str]] = {}
    if masks is not None:
        written["masks"] = _write_masks(masks, items, probabilities, scheme, bound)
    if feature_maps is not None:
        written["feature_maps"] = _write_feature_maps(feature_maps, read(items[0]), loaded)
    answers = _rank(items, probabilities, loaded, top)
    lines = [
        f"{name}: " + ", ".join(f"{found} {share:.1%}" for found, share in shares.items())
        for name, shares in answers.items()
    ]
    lines += [path for paths in written.values() for path in paths]
    emit({"run": str(run), "predictions": answers, **written}, as_json, lines)


def _rank(
    items: list[Item], probabilities: NDArray[np.float32], run: "Run", top: int
) -> dict[str, dict[str, float]]:
    """The most probable classes of each image; of a segmentation, the share of pixels each is expected to cover."""
    shares = probabilities.mean(axis=(2, 3)) if run.masked else probabilities
    order = np.argsort(-shares, axis=1)[:, :top]
    return {
        item.name: {run.classes[i]: round(float(row[i]), 4) for i in ranked}
        for item, row, ranked in zip(items, shares, order, strict=True)
    }


def _check_outputs(
    run: "Run",
    scheme: CipherSpec,
    images: list[Item],
    top: int,
    masks: Path | None,
    feature_maps: Path | None,
    key: Key | None,
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
    if len({_stem(item) for item in images}) < len(images):
        raise UsageError("two images have the same name, and would have the same mask", hint="rename one")
    if key is None and scheme.cipher != PLAIN:
        raise UsageError("without the key a mask cannot be put in order", hint="give the client's --key")


def _stem(item: Item) -> str:
    return Path(item.name).stem


def _read_image(
    item: Item, preprocess: Preprocess, scheme: CipherSpec, bound: BoundCipher | None, run: "Run"
) -> NDArray[Any]:
    """One encrypted image (1, C, H, W), of the shape and dtype that the run was trained on."""
    if is_ciphertext(item):
        return _read_ciphertext(item, run)
    pixels = preprocess.apply(item)
    check_shape(pixels, scheme.plain_shape, item.name)
    padded = pad_to(pixels[None], scheme.padded_shape)
    # No two queries have the same key.
    return padded if bound is None else np.asarray(bound.encrypt(padded, [f"query/{secrets.token_hex(16)}"]))


def _read_ciphertext(item: Item, run: "Run") -> NDArray[Any]:
    limit = _NPY_HEADER + int(np.prod(run.shape)) * np.dtype(run.dtype).itemsize
    try:
        content = read_untrusted(item.content, limit) if isinstance(item.content, Path) else item.content
        ct = np.load(io.BytesIO(content[:limit]), allow_pickle=False)  # type: ignore[arg-type,index]
    except Exception as error:  # of many kinds: the file may be anything
        raise DataError(f"{item.name} is not a ciphertext: {describe(error)}", hint="give a .npy file") from None
    if isinstance(ct, np.ndarray) and ct.ndim == 3:
        ct = ct[None]
    if not isinstance(ct, np.ndarray) or ct.shape != (1, *run.shape) or ct.dtype != run.dtype:
        raise DataError(
            f"{item.name} is not one ciphertext of this run",
            hint=f"it takes {run.dtype} arrays of shape {run.shape}, one image a file",
        )
    return ct


def _write_masks(
    folder: Path,
    images: list[Item],
    probabilities: NDArray[np.float32],
    scheme: CipherSpec,
    bound: BoundCipher | None,
) -> list[str]:
    from cipherlens.data.sealed.shards import decrypt_masks
    from cipherlens.data.sealed.unseal import save_png

    masks = probabilities.argmax(axis=1).astype(np.uint8)
    _, height, width = scheme.plain_shape
    put_back = masks[:, None] if bound is None else decrypt_masks(bound, masks)[:, None, :height, :width]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{_stem(item)}.png" for item in images]
    for path, mask in zip(paths, put_back, strict=True):
        content = io.BytesIO()
        save_png(mask, content)
        write_atomic(path, content.getvalue())
    return [str(path) for path in paths]


def _write_feature_maps(folder: Path, image: NDArray[Any], run: "Run") -> list[str]:
    import torch

    from cipherlens.keyed import LockedModel
    from cipherlens.keyed.feature_maps import write_feature_maps
    from cipherlens.keyed.inspection import capture_maps

    assert isinstance(run.model, LockedModel)
    pixels = run.normalization.apply(torch.from_numpy(np.ascontiguousarray(image)).to(run.device))
    return [str(path) for path in write_feature_maps(folder, capture_maps(run.model, pixels))]
