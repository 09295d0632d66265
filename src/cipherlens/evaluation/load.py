"""Pairing a sealed data set with its plain source: the truth for the harness, and public images for attacks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import Labels, View, to_unit
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.images import Preprocess, check_shape, pad_to
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import DatasetSpec, choose_split
from cipherlens.data.sources.augmented import TRAIN, augment
from cipherlens.data.sources.base import Source, pick_evenly, require_split
from cipherlens.data.sources.registry import open_source
from cipherlens.data.sources.subsets import hold_out, select
from cipherlens.errors import DataError
from cipherlens.evaluation.target import Target, cut_nonce
from cipherlens.keys import Key

PARAMETRIC = "parametric"
SAME_SOURCE = "plain"
_PRIOR_VALUES = 30_000_000
"""Limit on the values of all public images, for memory; MIN_PRIOR images are always read. Set by hand."""
NO_IMAGES = "parametric, no images"
"""What an attacker without public images has."""
MIN_PRIOR = 20
"""Minimum public images; a source with fewer images that are not attacked gives none. Set by hand."""
_MAX_PRIOR = 2_000
"""Maximum public images. Set by hand."""
_DEFAULT_VALUES = 20_000_000
"""An attack's default budget is at most so many ciphertext values: about 1,000 images of 32x32, 130 of 224x224."""
_MAX_BUDGET = 1_000
"""Maximum of the default budget. Set by hand."""


def load_target(
    dataset: SealedDataset,
    plain: str,
    split: str | None = None,
    count: int | None = None,
    prior: str = SAME_SOURCE,
    key: Key | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Target:
    """Ciphertexts of a split with their originals and a prior.

    ``prior`` names the public images. ``"plain"`` takes other images of the plain source, never the attacked ones.
    ``"parametric"`` takes none, and anything else is another source. With the victim's ``key`` attackers can have
    chosen pictures encrypted. Raises DataError if the plain source does not fit, KeyFailureError for another key.
    """
    spec = dataset.spec
    name = split or choose_split(spec)
    sealed = dataset.split(name)
    chosen = pick_evenly(len(sealed), count)
    opened = open_source(plain)
    subset = spec.classes if set(spec.classes) < set(opened.classes) else ()
    source = augment(hold_out(select(opened, subset), spec.hold_out), spec.augment)
    require_split(source, name)
    if len(sealed) and int(sealed.index.max()) >= source.splits[name]:
        raise DataError(f"{plain} is not what was sealed: it has fewer images", hint="give the source of encrypt")
    preprocess = spec.preprocess(max_pixels)
    truth = read_plain(source, name, sealed.index[chosen], spec, preprocess)
    (public, public_labels), words = _public_images(source, name, sealed.index, spec, preprocess, prior)
    bound = None if key is None else spec.bind(key)
    labels = _keep_labels(sealed.labels[chosen])
    facts = (spec.create_cipher(), truth, sealed.read(chosen), public, words, bound)
    return Target(*facts, labels=labels, public_labels=public_labels)


def load_view(
    dataset: SealedDataset,
    split: str | None,
    count: int,
    prior: str,
    seed: int,
    max_pixels: int = MAX_PIXELS,
    starts: int = 1,
) -> View:
    """The view of an eavesdropper who knows no original: ciphertexts, and public images of another source.

    ``prior`` is that source; its images are resized to the size of the sealed ones where they are larger.
    ``"parametric"`` and ``"plain"``, which nobody has here, stand for no images.
    """
    spec = dataset.spec
    sealed = dataset.split(split or choose_split(spec))
    public = None
    if prior not in (PARAMETRIC, SAME_SOURCE):
        limit = limit_prior(spec, 2 * _PRIOR_VALUES)
        public = to_unit(_read_other(open_source(prior), limit, spec.preprocess(max_pixels), spec.size))
    ct = cut_nonce(sealed.read(pick_evenly(len(sealed), count)), spec.padded_shape[1])
    cipher = spec.create_cipher()
    return View(
        cipher,
        ct,
        public,
        seed=seed,
        shape=spec.padded_shape,
        starts=starts,
        key_per_image=cipher.per_image,
    )


def default_count(spec: DatasetSpec) -> int:
    """How many ciphertexts attacks look at where nobody says."""
    return max(1, min(_MAX_BUDGET, _DEFAULT_VALUES // int(np.prod(spec.ct_shape))))


def limit_prior(spec: DatasetSpec, values: int = _PRIOR_VALUES) -> int:
    """How many public images of this size an attacker is given."""
    return max(MIN_PRIOR, min(_MAX_PRIOR, values // int(np.prod(spec.padded_shape))))


def _keep_labels(labels: Labels) -> Labels | None:
    """The labels, or None where not all images have one."""
    return labels if len(labels) and labels.min() >= 0 else None


def read_plain(
    source: Source,
    split: str,
    indices: Sequence[int] | NDArray[np.int64],
    spec: DatasetSpec,
    preprocess: Preprocess,
) -> NDArray[np.uint8]:
    """Plain images exactly as they were encrypted: resized and padded, (N, C, H, W) uint8."""
    items = source.read(split, [int(i) for i in indices])
    images = [preprocess.apply(item) for item in items]
    for item, image in zip(items, images, strict=True):
        check_shape(image, spec.plain_shape, item.name)
    return pad_to(np.stack(images), spec.padded_shape)


def _public_images(
    source: Source, split: str, attacked: NDArray[np.int64], spec: DatasetSpec, preprocess: Preprocess, prior: str
) -> tuple[tuple[NDArray[np.uint8] | None, Labels | None], str]:
    """Public images, their labels if they share the classes of the sealed images, and a description."""
    nothing = (None, None), NO_IMAGES
    if prior == PARAMETRIC:
        return nothing
    limit = limit_prior(spec)
    if prior != SAME_SOURCE:
        images = _read_other(open_source(prior), limit, preprocess)
        return (images, None), f"{len(images)} images of another source"
    other = next((name for name in source.splits if name != split), None)
    if other is not None and source.splits[other] < MIN_PRIOR:
        return nothing
    if other is not None:
        return _read_same(source, other, pick_evenly(source.splits[other], limit), spec, preprocess)
    originals = source.splits[split] // (1 + spec.augment) if split == TRAIN else source.splits[split]
    rest = np.setdiff1d(np.arange(originals), attacked % originals)  # no variant of an attacked image either
    if len(rest) < MIN_PRIOR:
        return nothing
    return _read_same(source, split, rest[pick_evenly(len(rest), limit)], spec, preprocess)


def _read_same(
    source: Source, split: str, indices: NDArray[np.int64], spec: DatasetSpec, preprocess: Preprocess
) -> tuple[tuple[NDArray[np.uint8], Labels | None], str]:
    labels = _keep_labels(source.read_labels(split)[indices])
    return (
        read_plain(source, split, indices, spec, preprocess),
        labels,
    ), name_same_kind(len(indices))


def name_same_kind(count: int) -> str:
    """What an attacker has who knows other images of the same kind."""
    return f"{count} other images of the same kind"


def _read_other(
    source: Source, limit: int, preprocess: Preprocess, largest: int | None = None
) -> NDArray[np.uint8]:
    """Images of another source, resized to the shorter side of the first, or to ``largest`` if that is less."""
    split = next(iter(source.splits))
    items = source.read(split, pick_evenly(source.splits[split], limit).tolist())
    own = min(items[0].decode(preprocess.max_pixels, preprocess.rules).shape[1:])
    preprocess = replace(preprocess, size=min(own, largest or own), pad=False)
    return np.stack([preprocess.apply(item) for item in items])
