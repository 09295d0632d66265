"""Front ends from ciphertexts: the map that an attack finds, for training to start from.

Training knows no attacks; this puts the two together.
"""

from math import lcm

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import Attack
from cipherlens.attacks.covariance.attack import HALVED
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.data.images import MAX_PIXELS
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.manifest import DatasetSpec
from cipherlens.errors import UsageError
from cipherlens.evaluation.load import PARAMETRIC, load_view

_MOST_IMAGES = 1_000
_MOST_VALUES = 60_000_000
"""Ciphertexts that are looked at hold so many values: 1,000 images of 32x32, 400 of 224x224."""
_STARTS, _LARGEST_BLOCK = 6, 8
"""Searches from several starts, the best of which is kept; in larger blocks one takes a minute, and is alone."""
_BLOCKS_PER_PIXEL = 100
"""Fewer than so many times n blocks of n pixels are refused: eight photos of 224x224 in blocks of 8, not nine."""


def choose_map_attack(dataset: SealedDataset) -> Attack | None:
    """The attack that finds a map of the data set's scheme from ciphertexts alone; None where there is none."""
    cipher, params = dataset.spec.cipher, dataset.spec.params
    if cipher == "identity" or params.get("per_image"):
        return None
    able = (attack for attack in ATTACKS.values() if attack.finds_inverse and attack.threat_model == "coa")
    return next((attack for attack in able if attack.applies(cipher, params)), None)


def explain_refusal(dataset: SealedDataset, split: str) -> str | None:
    """Why no map can be found from the ciphertexts of a split, in words; None where one can."""
    spec, attack = dataset.spec, choose_map_attack(dataset)
    if attack is None:
        own = " with a key for each image" if spec.params.get("per_image") else ""
        return f"no attack finds a map of {spec.cipher}{own} from ciphertexts"
    count = count_images(dataset, split)
    _, height, width = spec.padded_shape
    if spec.cipher == HALVED:
        return "a map of half bytes fits no adaptation network"
    if height * width > attack.limit_pixels(spec.params):
        return f"images of {height}x{width} pixels are too large for the {attack.name} attack"
    block = choose_network(spec)[1]
    blocks = count * (height // block) * (width // block)
    if count < attack.min_images or blocks < _BLOCKS_PER_PIXEL * block**2:
        return f"{count} ciphertexts are too few"
    return None


def choose_network(spec: DatasetSpec) -> tuple[str, int]:
    """Kind and block of the adaptation network that can undo a scheme. Raises UsageError for one without blocks."""
    if spec.cipher == "pixel-permutation":
        return "positions", 1
    blocks = [int(part["block"]) for part in spec.params.get("ciphers", [spec.params]) if "block" in part]
    if not blocks:
        raise UsageError(f"{spec.cipher} has no block", hint="name one", parameters=("adapt_block",))
    return "er", lcm(*blocks)


def count_starts(spec: DatasetSpec) -> int:
    """From how many starts to search for a map of a scheme."""
    return _STARTS if choose_network(spec)[1] <= _LARGEST_BLOCK else 1


def find_map(
    dataset: SealedDataset, split: str, public: str | None = None, seed: int = 0, max_pixels: int = MAX_PIXELS
) -> EstimatedInverse:
    """The map that an attack finds from the ciphertexts of a split, evenly chosen.

    ``public`` names a source of photos that serve as prior; without them the attack's own is taken. No key, label
    or plain image of the data set is used. Raises UsageError where no map can be found.
    """
    reason = explain_refusal(dataset, split)
    if reason is not None:
        raise UsageError(f"cannot start from ciphertexts: {reason}", hint="start at random", parameters=("start",))
    attack = choose_map_attack(dataset)
    assert attack is not None
    count = count_images(dataset, split)
    view = load_view(dataset, split, count, public or PARAMETRIC, seed, max_pixels, count_starts(dataset.spec))
    inverse = attack.run(view).inverse
    assert inverse is not None
    return inverse


def count_images(dataset: SealedDataset, split: str) -> int:
    """How many ciphertexts of a split are looked at."""
    channels, height, width = dataset.spec.padded_shape
    most = max(1, min(_MOST_IMAGES, _MOST_VALUES // (channels * height * width)))
    return min(most, len(dataset.split(split)))
