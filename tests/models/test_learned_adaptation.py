"""Adaptation networks of LE, ELE and PE."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

import torch.nn.functional as F  # noqa: E402

from cipherlens.attacks.model.adaptation import AdaptationAttack  # noqa: E402
from cipherlens.ciphers import create_cipher  # noqa: E402
from cipherlens.data.sealed.dataset import SealedDataset  # noqa: E402
from cipherlens.data.sealed.seal import seal  # noqa: E402
from cipherlens.errors import ShapeError, UsageError  # noqa: E402
from cipherlens.keys import Key  # noqa: E402
from cipherlens.models import create_model  # noqa: E402
from cipherlens.models.adaptation.learned import EleAdaptNet, LeAdaptNet, PeAdaptNet  # noqa: E402
from cipherlens.training import (  # noqa: E402
    TrainConfig,
    fit,
    load_run,
)

SIZE = (8, 12)


def make_ele():
    torch.manual_seed(0)
    network = EleAdaptNet(4, SIZE)
    torch.nn.init.normal_(network.bias)
    torch.nn.init.normal_(network.permutation)
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    return network.eval()


def cut(images, block):
    top, left = 4 * (block // 3), 4 * (block % 3)
    return images[..., top : top + 4, left : left + 4]


def test_ele_is_a_convolution_for_every_block():
    network, images = make_ele(), torch.rand(2, 3, *SIZE)
    found = network(images)
    features = torch.stack(
        [
            F.conv2d(cut(images, block), network.weight[block].T.reshape(256, 3, 4, 4), network.bias[block, 0], 4)
            for block in range(6)
        ],
        dim=1,
    ).reshape(2, -1)
    norm = network.norm
    features = F.leaky_relu((features - norm.running_mean) / (norm.running_var + norm.eps).sqrt(), 0.2)
    features = features.reshape(2, 6, 256)
    for block in range(6):
        mixed = sum(network.permutation[block, other] * features[:, other] for other in range(6))
        expected = F.pixel_shuffle(mixed.reshape(2, 256, 1, 1), 4)
        torch.testing.assert_close(cut(found, block), expected, atol=1e-4, rtol=1e-4)


def test_eles_penalty_wants_a_permutation_and_a_smooth_picture():
    network, images = make_ele().train(), torch.rand(4, 3, *SIZE)
    network(images)
    assert network.penalty > 0
    with torch.no_grad():
        network.permutation.copy_(torch.eye(6)[torch.randperm(6)])
        network.norm.weight.zero_()
        network.norm.bias.fill_(0.7)
    network(images)
    assert network.penalty.abs() < 1e-6  # a permutation, and the same value everywhere
    with torch.no_grad():
        network.permutation.fill_(1 / 6)
    network(images)
    assert network.penalty.item() == pytest.approx(0.001 * 12 * (1 - 6**-0.5), rel=1e-3)
    network.eval()(images)
    assert network.penalty is None


def test_le_maps_all_blocks_alike_and_pe_all_pixels():
    torch.manual_seed(0)
    images = torch.rand(2, 3, *SIZE)
    le, pe = LeAdaptNet(4).eval(), PeAdaptNet().eval()
    assert le(images).shape == pe(images).shape == (2, 16, *SIZE)
    torch.testing.assert_close(le(images.roll((4, 4), (2, 3))), le(images).roll((4, 4), (2, 3)))
    torch.testing.assert_close(pe(images.roll((1, 5), (2, 3))), pe(images).roll((1, 5), (2, 3)))
    with pytest.raises(ShapeError):
        le(images[:, :, :6])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "s"
    seal("synthetic:tiny?n=40&test=20&size=16", out, create_cipher("ele", block=4), Key(bytes(range(32))))
    return SealedDataset.open(out)


@pytest.mark.parametrize("kind", ["le", "ele", "pe"])
def test_it_stands_before_a_backbone_and_all_of_it_learns(kind, dataset, tmp_path):
    config = TrainConfig(
        model="preresnet20", adapt_block=4, adaptation=kind, epochs=1, rounds=2, batch_size=20, threads=1
    )
    fit(config, dataset.split("train"), dataset.split("test"), tmp_path / "run", dataset.spec.to_json())
    with pytest.raises(UsageError, match="no decryptor"):
        AdaptationAttack(tmp_path / "run")
    model = create_model("preresnet20", 10, adapt_block=4, adaptation=kind, image_size=(16, 16))
    logits = model(torch.rand(4, 3, 16, 16))
    assert (kind == "ele") == (model.penalty is not None)
    F.cross_entropy(logits, torch.tensor([0, 1, 2, 3])).backward()
    learning = [p.grad.abs().sum() for name, p in model.named_parameters() if "weight" in name or "perm" in name]
    assert all(gradient > 0 for gradient in learning)


def test_the_penalty_is_part_of_the_training(dataset, tmp_path, monkeypatch):
    config = TrainConfig(
        model="preresnet20",
        adapt_block=4,
        adaptation="ele",
        epochs=2,
        batch_size=10,
        lr=0.01,
        precision="float32",
        threads=1,
    )
    found = {}
    for name, weight in (("off", 0.0), ("on", 0.02)):
        monkeypatch.setattr("cipherlens.models.adaptation.learned.PERMUTATION_WEIGHT", weight)
        fit(config, dataset.split("train"), None, tmp_path / name, dataset.spec.to_json())
        matrix = load_run(tmp_path / name, "last").model.adapt.permutation.detach()
        found[name] = float((matrix.abs().sum(0) - matrix.norm(dim=0)).sum())
    assert found["on"] < 0.9 * found["off"]


def test_both_parts_add_their_penalties():
    model = create_model("privconv-128-4", 10, adapt_block=4, adaptation="ele", image_size=(8, 12))
    model(torch.rand(2, 3, 8, 12))
    torch.testing.assert_close(model.penalty, model.adapt.penalty + model.backbone.penalty)


def test_what_cannot_be_is_said():
    with pytest.raises(UsageError, match="one size"):
        create_model("preresnet20", 10, adapt_block=4, adaptation="ele")
    with pytest.raises(UsageError, match="adaptation network"):
        create_model("preresnet20", 10, adapt_block=4, adaptation="el")
    with pytest.raises(UsageError, match="adapt_block"):
        TrainConfig(model="preresnet20", adaptation="le")
    with pytest.raises(UsageError, match="legacy_padding"):
        create_model("preresnet20", 10, adapt_block=4, adaptation="le", legacy_padding=True)
    with pytest.raises(ShapeError):
        make_ele()(torch.rand(1, 3, 8, 8))
