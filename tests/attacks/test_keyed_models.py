"""Whoever holds a keyed model, and knows the plain one, has the key."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

import cipherlens as cl  # noqa: E402
from cipherlens.attacks.base import Attack  # noqa: E402
from cipherlens.attacks.model.keyed import FoldedModelAttack, LockedModelAttack, recover_order  # noqa: E402
from cipherlens.ciphers import BoundCipher  # noqa: E402
from cipherlens.errors import UsageError  # noqa: E402
from cipherlens.evaluation.harness import Evaluation, evaluate  # noqa: E402
from cipherlens.evaluation.target import Target  # noqa: E402

STD = (0.229, 0.224, 0.225)


def run(attack: Attack, bound: BoundCipher) -> Evaluation:
    plain = np.random.default_rng(0).integers(0, 256, (3, *bound.shape), dtype=np.uint8)
    return evaluate(attack, Target(bound.cipher, plain, bound.encrypt(plain), None, "", bound), 1)


@pytest.mark.parametrize("inner", ["plain", "shuffled"])
@pytest.mark.parametrize("backend", ["gather", "deform"])
def test_a_locked_model_gives_the_permutation_away(inner: str, backend: str) -> None:
    torch.manual_seed(0)
    plain = cl.create_model("preresnet20", 10).eval()
    bound = cl.create_cipher("pixel-permutation").bind(cl.Key.generate(), (3, 16, 16))
    locked = cl.lock(plain, bound, inner, backend)
    order, unsure = recover_order(locked, plain, (3, 16, 16))
    assert unsure == 0
    assert np.array_equal(order, bound.order)
    result = run(LockedModelAttack(locked, plain), bound)
    assert result.exact_values == 1
    assert result.details["key_recovered"]


@pytest.mark.full
def test_vgg_with_pooling_too() -> None:
    torch.manual_seed(0)
    plain = cl.create_model("vgg16_cifar", 10).eval()
    bound = cl.create_cipher("pixel-permutation").bind(cl.Key.generate(), (3, 32, 32))
    order, unsure = recover_order(cl.lock(plain, bound), plain, (3, 32, 32))
    assert np.array_equal(order, bound.order)
    assert unsure == 0


def test_another_network_gives_nothing_away() -> None:
    """Negative control: the plain network must be the one that was locked."""
    torch.manual_seed(1)
    plain, other = (cl.create_model("preresnet20", 10).eval() for _ in range(2))
    bound = cl.create_cipher("pixel-permutation").bind(cl.Key.generate(), (3, 16, 16))
    order, unsure = recover_order(cl.lock(plain, bound), other, (3, 16, 16))
    assert unsure > 100
    assert (order == bound.order).mean() < 0.05


FOLDS = [
    ("hill", {"block": 8}),
    ("hill", {"block": 4, "orthogonal": True}),
    ("shf", {"block": 16}),
    ("np", {"block": 8}),
    ("patch", {"block": 16}),
    ("patch", {"block": 8, "orthogonal": True}),
]


@pytest.mark.parametrize(("name", "params"), FOLDS)
def test_a_folded_model_gives_the_key_away(name: str, params: dict) -> None:
    torch.manual_seed(0)
    plain = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5).eval()
    cipher = cl.create_cipher(name, **params)
    bound = cipher.bind(cl.Key.generate(), (3, 32, 32))
    folded = cl.fold(plain, bound, mean=(0.485, 0.456, 0.406), std=STD)
    result = run(FoldedModelAttack(folded, plain, STD), bound)
    assert result.details["key_recovered"]
    assert result.exact_values > 0.999


def test_a_folded_convnext_too() -> None:
    torch.manual_seed(0)
    plain = timm.create_model("convnext_atto", num_classes=5).eval()
    cipher = cl.create_cipher("hill", block=4)
    bound = cipher.bind(cl.Key.generate(), (3, 64, 64))
    result = run(FoldedModelAttack(cl.fold(plain, bound, std=STD), plain, STD), bound)
    assert result.details["key_recovered"]
    assert result.exact_values > 0.99


def test_too_few_outputs_leave_the_matrix_open_and_it_is_said() -> None:
    plain = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5).eval()
    bound = cl.create_cipher("hill", block=16, orthogonal=True).bind(cl.Key.generate(), (3, 32, 32))
    attack = FoldedModelAttack(cl.fold(plain, bound, std=STD), plain, STD)
    result = run(attack, bound)
    assert (result.details["rank"], result.details["needed_rank"]) == (192, 256)
    assert not result.details["key_recovered"]
    assert result.exact_values < 0.2


def test_other_networks_are_refused() -> None:
    plain = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=5).eval()
    other = timm.create_model("vit_small_patch16_224", img_size=32, num_classes=5).eval()
    bound = cl.create_cipher("shf", block=16).bind(cl.Key.generate(), (3, 32, 32))
    folded = cl.fold(plain, bound, std=STD)
    with pytest.raises(UsageError, match="same layer"):
        run(FoldedModelAttack(folded, other, STD), bound)
    convolutional = cl.create_model("preresnet20", 10)
    with pytest.raises(UsageError, match="patches"):
        run(FoldedModelAttack(convolutional, convolutional, STD), bound)
