"""Front ends from ciphertexts: training starts from the map that an attack finds.

Training does not import attacks; this module connects the two.
"""

from dataclasses import replace

from cipherlens.attacks import ATTACKS
from cipherlens.attacks.base import Attack, Images
from cipherlens.attacks.covariance.attack import CovarianceAttack
from cipherlens.ciphers.estimated_inverse import EstimatedInverse
from cipherlens.ciphers.structure import Scope
from cipherlens.ciphers.threat_models import CIPHERTEXT_ONLY
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.errors import UsageError
from cipherlens.evaluation.load import PARAMETRIC, load_view

_MOST_IMAGES = 1_000
"""At most this many ciphertexts are given to the attack. Chosen by hand."""
_MOST_VALUES = 60_000_000
"""At most this many values are given to the attack, e.g. 398 images of 224x224. A limit on memory."""
_BLOCKS_PER_PIXEL = 100
"""At least 100 n blocks of n pixels are required: nine photos of 224x224 in blocks of 8 suffice, eight do not."""


def choose_map_attack(dataset: SealedDataset) -> Attack | None:
    """The attack that finds a map of the data set's scheme from ciphertexts only; None where there is none."""
    spec = dataset.spec
    cipher, shapes = spec.create_cipher(), (spec.padded_shape, spec.ct_shape)
    structure = spec.structure()
    if cipher.per_image or not (structure.maps_blocks_alike or structure.scope is Scope.CHANNELS):
        return None
    able = (
        attack for attack in ATTACKS.values() if attack.finds_inverse and attack.threat_model is CIPHERTEXT_ONLY
    )
    return next((attack for attack in able if attack.supports(cipher, *shapes)), None)


def explain_refusal(dataset: SealedDataset, split: str) -> str | None:
    """Text that says why no map can be found from the ciphertexts of a split; None where one can be found."""
    spec, attack = dataset.spec, choose_map_attack(dataset)
    if attack is None:
        own = " with a key for each image" if spec.create_cipher().per_image else ""
        return f"no attack finds a map of {spec.cipher}{own} from ciphertexts"
    count = count_images(dataset, split)
    _, height, width = spec.padded_shape
    if spec.structure().halves:
        return "a map of half bytes fits no adaptation network"
    if height * width > attack.limit_pixels(spec.structure().block):
        return f"images of {height}x{width} pixels are too large for the {attack.name} attack"
    block = choose_network(spec)[1]
    blocks = count * (height // block) * (width // block)
    if count < attack.requirements.min_images or blocks < _BLOCKS_PER_PIXEL * block**2:
        return f"{count} ciphertexts are too few"
    return None


def choose_network(spec: DatasetSpec) -> tuple[str, int]:
    """Kind and block of the adaptation network that can undo a scheme. Raises UsageError for one without blocks."""
    if spec.structure().scope is Scope.CHANNELS:
        return "positions", 1
    block = spec.create_cipher().block
    if block == 1:
        raise UsageError(f"{spec.cipher} has no block", hint="name one", parameters=("adapt_block",))
    return "er", block


def find_map(
    dataset: SealedDataset,
    split: str,
    public: str | Images | None = None,
    seed: int = 0,
    max_pixels: int = MAX_PIXELS,
    left_out: str | None = None,
) -> EstimatedInverse:
    """The map that an attack finds from evenly chosen ciphertexts of a split.

    ``public`` are photos (N, C, H, W), float32 in [0, 1], that serve as prior, or names a source of some. Without
    it the attack's built-in priors are used, but none that was measured on photos of the source ``left_out``. No
    key, label or plain image of the data set is used. Raises UsageError where no map can be found.
    """
    reason = explain_refusal(dataset, split)
    if reason is not None:
        raise UsageError(f"cannot start from ciphertexts: {reason}", hint="start at random", parameters=("start",))
    attack = choose_map_attack(dataset)
    assert attack is not None
    if left_out is not None and isinstance(attack, CovarianceAttack):
        attack = attack.leave_out(left_out)
    count = count_images(dataset, split)
    source = public if isinstance(public, str) else PARAMETRIC
    starts = attack.count_starts(dataset.spec.structure())
    view = load_view(dataset, split, count, source, seed, max_pixels, starts)
    if public is not None and not isinstance(public, str):
        view = replace(view, public_images=public)
    inverse = attack.execute(view).inverse
    assert inverse is not None
    return inverse


def count_images(dataset: SealedDataset, split: str) -> int:
    """Number of ciphertexts of a split that the attack is given."""
    channels, height, width = dataset.spec.padded_shape
    most = max(1, min(_MOST_IMAGES, _MOST_VALUES // (channels * height * width)))
    return min(most, len(dataset.split(split)))
