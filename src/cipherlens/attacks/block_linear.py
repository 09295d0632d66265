"""The covariance attack on schemes that do the same to all blocks: what is public of each, and what follows."""

from math import lcm
from typing import Any

import numpy as np

from cipherlens.attacks.base import Images, View
from cipherlens.attacks.block_statistics import BlockStatistics, apply_maps, block_statistics
from cipherlens.attacks.covariance import Recovery, search
from cipherlens.attacks.neighbours import is_negative
from cipherlens.attacks.prior import parametric_statistics
from cipherlens.attacks.snapping import snap
from cipherlens.errors import UsageError

ORDERED = ("shf", "np", "patch")
"""They rearrange or invert the values of a block, all channels together."""
BLOCK_LINEAR = ("hill", *ORDERED)
HALVED = "le"
"""It does the same to half bytes."""
_INVERTING = {"np", HALVED}
_JOINT_TRIES = 6
"""Chroma varies so little that single searches end in its local minima one time in four (48 values, CIFAR-10)."""
_LARGE = 200


def attack_covariance(view: View) -> tuple[Images, dict[str, Any]]:
    """Statistics of the public images, or the parametric ones where there are none, against the ciphertexts'."""
    parts = view.params["ciphers"] if view.cipher == "compose" else [{"name": view.cipher, **view.params}]
    names = {part["name"] for part in parts}
    joint, inverts = bool(names & {*ORDERED, HALVED}), bool(names & _INVERTING)
    rearranges = names <= {*ORDERED, HALVED} and not any(part.get("orthogonal") for part in parts)
    ct = split_halves(view.ciphertexts) if HALVED in names else view.ciphertexts
    prior = _find_prior(view, lcm(*(part.get("block", view.block) for part in parts)), joint, HALVED in names)
    tries = _JOINT_TRIES if joint and prior.mean.size < _LARGE else 1
    searched = list(search(ct, prior, prior.block, view.seed, inverts, tries))
    found = min(searched, key=lambda recovery: recovery.objective)
    details = {"objective": found.objective, "agreement": found.agreement}
    if not rearranges:
        return found.reconstruction, details
    images = _read_off(searched, ct, prior, inverts)
    images = merge_halves(images) if HALVED in names else images
    if inverts and is_negative(images, view.public_images):
        images = 1 - images
    return images, details


def _find_prior(view: View, block: int, joint: bool, halved: bool) -> BlockStatistics:
    channels, public = view.ciphertexts.shape[1], view.public_images
    if public is not None:
        return block_statistics(split_halves(public) if halved else public, block, joint)
    if halved:
        raise UsageError("there is no parametric prior for half bytes", hint="give public images")
    return parametric_statistics(block, channels, joint)


def _read_off(searched: list[Recovery], ct: Images, prior: BlockStatistics, inverts: bool) -> Images:
    """The images under the likeliest of the rearrangements nearest to what was found."""
    target, channels = block_statistics(ct, prior.block, joint=True), ct.shape[1]
    snapped = [snap(found.matrices[0], prior, target, channels, inverts) for found in searched]
    best = min(snapped, key=lambda rearrangement: rearrangement.unlikeliness)
    source, signs = best.source, best.signs
    matrix = np.zeros((1, len(source), len(source)))
    matrix[0, source, np.arange(len(source))] = signs
    offset = np.asarray(signs < 0, np.float64)[None]  # an inverted value is 1 - y
    return apply_maps(ct, prior.block, matrix, offset)


def split_halves(images: Images) -> Images:
    """Images (N, C, H, W) in [0, 1] -> (N, 2 C, H, W): the lower halves of the bytes, then the upper ones."""
    levels = np.rint(255 * images).astype(np.uint8)
    return np.concatenate([levels & 15, levels >> 4], axis=1).astype(np.float32) / np.float32(15)


def merge_halves(halves: Images) -> Images:
    """The inverse of :func:`split_halves`."""
    low, high = np.split(np.rint(15 * halves), 2, axis=1)
    return np.asarray((low + 16 * high) / 255, np.float32)
