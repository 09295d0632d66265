"""Networks: shapes, parameter counts, names, weights files, and what the adaptation network can express."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from cipherlens.errors import DataError, ShapeError, UsageError  # noqa: E402
from cipherlens.models import AdaptationNetwork, PreResNet, create_model, read_weights  # noqa: E402
from cipherlens.models.pyramidnet import ShakeDrop  # noqa: E402


def count_parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def expected_preresnet_parameters(blocks: int, classes: int) -> int:
    """Counted by hand from the architecture: convolutions, batch norms (2 per channel), classifier."""
    total = 3 * 16 * 9
    for first, width in ((16, 16), (16, 32), (32, 64)):
        total += 9 * first * width + 9 * width * width + 2 * first + 2 * width
        total += first * width if first != width else 0
        total += (blocks - 1) * (2 * 9 * width * width + 4 * width)
    return total + 2 * 64 + 64 * classes + classes


@pytest.mark.parametrize(("name", "blocks", "millions"), [("preresnet20", 3, 0.27), ("preresnet110", 18, 1.73)])
def test_preresnet_has_the_published_size(name: str, blocks: int, millions: float) -> None:
    count = count_parameters(create_model(name, num_classes=10))
    assert count == expected_preresnet_parameters(blocks, 10)
    assert round(count / 1e6, 2) == millions


def test_preresnet_halves_twice_and_rejects_other_depths() -> None:
    model = create_model("preresnet20", num_classes=7, in_chans=1)
    sizes = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda _module, _inputs, output: sizes.append(tuple(output.shape[1:])))
    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert sizes == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    with pytest.raises(UsageError, match="6 n"):
        PreResNet(18, num_classes=10)


@pytest.mark.parametrize("name", ["preresnet20", "resnet10t", "convnext_atto"])
@pytest.mark.parametrize("adapt_block", [None, 4])
def test_forward_shape_and_names(name: str, adapt_block: int | None) -> None:
    model = create_model(name, num_classes=5, adapt_block=adapt_block).eval()
    with torch.no_grad():
        assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    tops = {key.split(".")[0] for key in model.state_dict()}
    assert (tops == {"adapt", "backbone"}) == (adapt_block is not None)


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        create_model("resnet43", num_classes=10)
    assert "resnet34" in (caught.value.hint or "")
    with pytest.raises(UsageError) as caught:
        create_model("preresnet", num_classes=10)
    assert "preresnet20" in (caught.value.hint or "")


def test_combinations_that_cannot_work() -> None:
    with pytest.raises(UsageError, match="no published weights"):
        create_model("preresnet20", 10, pretrained=True)
    with pytest.raises(UsageError, match="exclude"):
        create_model("resnet10t", 10, pretrained=True, weights="file.safetensors")
    with pytest.raises(UsageError, match="num_classes"):
        create_model("preresnet20", 0)
    for name in ("preresnet20", "vit_tiny_patch16_224", "convnext_atto_ols"):
        with pytest.raises(UsageError, match="small_stem"):
            create_model(name, 10, small_stem=True)


@pytest.mark.parametrize("name", ["resnet18", "resnet10t"])
def test_small_stem_keeps_the_resolution(name: str) -> None:
    model = create_model(name, num_classes=10, small_stem=True)
    seen = []
    model.layer1.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[-2:]))
    model(torch.rand(2, 3, 32, 32))
    assert seen == [(32, 32)]


@pytest.mark.parametrize(
    ("name", "first", "side"), [("densenet121", "features.denseblock1", 32), ("convnext_atto", "stages.0", 16)]
)
def test_small_stems_of_other_families(name: str, first: str, side: int) -> None:
    model = create_model(name, num_classes=10, in_chans=1, small_stem=True)
    seen = []
    model.get_submodule(first).register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 10)
    images = seen[0][0] if isinstance(seen[0], list) else seen[0]
    assert images.shape[-2:] == (side, side)


def test_image_size_fits_vits_and_refuses_what_cannot_work() -> None:
    model = create_model("vit_tiny_patch16_224", num_classes=3, image_size=(32, 48))
    assert model.training
    assert model(torch.rand(1, 3, 32, 48)).shape == (1, 3)
    with pytest.raises(ShapeError, match="8x8"):
        create_model("vgg11", num_classes=3, image_size=(8, 8))
    with pytest.raises(ShapeError, match="blocks of 5x5"):
        create_model("preresnet20", num_classes=3, adapt_block=5, image_size=(32, 32))


@pytest.mark.parametrize("shape", [(1, 3, 30, 32), (1, 3, 32, 30)])
def test_adaptation_refuses_sides_that_do_not_divide(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="blocks of 4x4"):
        AdaptationNetwork(4)(torch.zeros(shape))


@pytest.mark.parametrize(("block", "channels"), [(1, 3), (2, 1), (4, 3)])
def test_adaptation_network_can_decrypt_a_block_linear_cipher(block: int, channels: int) -> None:
    """With the inverse matrix as its weights it is the exact decryptor: what training may find exists."""
    rng = np.random.default_rng(block)
    size = channels * block * block
    matrix = np.linalg.qr(rng.standard_normal((size, size)))[0] * rng.uniform(0.5, 2, size)
    plain = rng.random((2, channels, 4 * block, 3 * block))
    blocks = plain.reshape(2, channels, 4, block, 3, block).transpose(0, 2, 4, 1, 3, 5).reshape(2, 4, 3, size)
    ct = (blocks @ matrix.T).reshape(2, 4, 3, channels, block, block).transpose(0, 3, 1, 4, 2, 5)
    ct = ct.reshape(plain.shape)

    network = AdaptationNetwork(block, channels).double()
    with torch.no_grad():
        network.conv.weight.copy_(torch.from_numpy(np.linalg.inv(matrix)).reshape(network.conv.weight.shape))
        network.deconv.weight.copy_(torch.eye(size).reshape(network.deconv.weight.shape))
        network.conv.bias.zero_()
        network.deconv.bias.zero_()
        decrypted = network(torch.from_numpy(ct)).numpy()
    assert np.abs(ct - plain).max() > 0.1
    np.testing.assert_allclose(decrypted, plain, atol=1e-12)


def test_adaptation_network_is_affine_and_local() -> None:
    torch.manual_seed(0)
    network = AdaptationNetwork(4).double()
    first, second = torch.rand(2, 1, 3, 8, 8, dtype=torch.float64)
    zero = network(torch.zeros_like(first))
    torch.testing.assert_close(network(first + second) + zero, network(first) + network(second))
    other = first.clone()
    other[..., :4, :4] += 1
    changed = (network(other) != network(first)).any(1)[0]
    assert changed[:4, :4].all() and not changed[4:].any() and not changed[:, 4:].any()


def test_adapted_model_can_be_traced() -> None:
    model = create_model("preresnet20", num_classes=4, adapt_block=4).eval()
    traced = torch.fx.symbolic_trace(model)
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(traced(images), model(images))
    with pytest.raises(ShapeError):
        traced(torch.rand(2, 3, 15, 16))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("adapt_block", [None, 4])
def test_weights_file_round_trip(tmp_path: Path, suffix: str, adapt_block: int | None) -> None:
    torch.manual_seed(1)
    source = create_model("preresnet20", num_classes=4, adapt_block=adapt_block)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, path)
    else:
        save_file(source.state_dict(), path)
    model = create_model("preresnet20", num_classes=4, adapt_block=adapt_block, weights=path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", ["preresnet20", "convnext_atto"])
def test_backbone_weights_go_behind_the_adaptation_network_and_the_head_is_replaced(
    tmp_path: Path, name: str
) -> None:
    source = create_model(name, num_classes=4)
    save_file(source.state_dict(), tmp_path / "plain.safetensors")
    model = create_model(name, num_classes=9, adapt_block=2, weights=tmp_path / "plain.safetensors")
    loaded = model.backbone.state_dict()
    kept = [name for name, tensor in source.state_dict().items() if tensor.shape == loaded[name].shape]
    assert all(torch.equal(source.state_dict()[key], loaded[key]) for key in kept)
    assert len(loaded) - len(kept) == 2  # weight and bias of the classifier
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 9)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    tensors = create_model("preresnet20", num_classes=4).state_dict()
    tensors["surprise"] = torch.zeros(1)
    tensors["conv1.weight"] = torch.zeros(16, 1, 3, 3)
    del tensors["bn.weight"]
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(DataError) as caught:
        create_model("preresnet20", num_classes=4, weights=tmp_path / "w.safetensors")
    message = str(caught.value)
    for part in ("missing: bn.weight", "unexpected: surprise", "conv1.weight (file (16, 1, 3, 3), model (16, 3"):
        assert part in message


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("pwned",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Malice()}, "bad.pth")
    with pytest.raises(DataError, match=r"bad\.pth"):
        read_weights("bad.pth")
    assert not Path("pwned").exists()


def test_unreadable_weights(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(100)}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-8])
    (tmp_path / "noise.pth").write_bytes(b"no checkpoint")
    for name in ("cut.safetensors", "noise.pth", "absent.pth", "absent.safetensors"):
        with pytest.raises(DataError, match=name):
            read_weights(tmp_path / name)
    with pytest.raises(UsageError, match=r"weights\.bin"):
        read_weights(tmp_path / "weights.bin")


def test_fresh_models_start_near_uniform_predictions() -> None:
    """A classifier that starts confident would start far above log(classes)."""
    torch.manual_seed(0)
    model = create_model("preresnet20", num_classes=10)
    loss = torch.nn.functional.cross_entropy(model(torch.randn(64, 3, 32, 32)), torch.randint(0, 10, (64,)))
    assert abs(loss.item() - math.log(10)) < 0.5


def test_shake_pyramidnet_has_the_published_size() -> None:
    model = create_model("shake-pyramidnet110", 10)
    count = sum(parameter.numel() for parameter in model.parameters())
    assert 28.0e6 < count < 28.9e6  # 28.3 M in Han, Kim and Kim 2017, table 1 (alpha 270)
    blocks = list(model.blocks)
    assert len(blocks) == 54
    assert blocks[-1].conv2.out_channels == 286
    assert blocks[0].drop.kept > 0.99
    assert blocks[-1].drop.kept == 0.5


def test_shakedrop_keeps_scales_or_averages() -> None:
    torch.manual_seed(0)
    features = torch.ones(64, 1, 1, 1, requires_grad=True)
    assert (ShakeDrop(0.7).eval()(features) == 0.7).all()
    assert (ShakeDrop(1.0)(features) == 1).all()
    shaken = ShakeDrop(0.0)(features)
    assert -1 <= float(shaken.detach().min()) < -0.5 and 0.5 < float(shaken.detach().max()) <= 1
    shaken.sum().backward()
    assert features.grad is not None
    assert 0 <= float(features.grad.min()) < 0.2 and 0.8 < float(features.grad.max()) <= 1
    assert (features.grad.flatten() != shaken.detach().flatten()).all()


@pytest.mark.parametrize("name", ["shake-pyramidnet20", "privconv-128-4", "vit-cifar"])
def test_the_comparisons_classifiers_learn(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name, 3, in_chans=1, image_size=(16, 24))
    images, labels = torch.rand(24, 1, 16, 24) * 0.1, torch.arange(24) % 3
    images[labels == 1, :, :8] += 1
    images[labels == 2, :, :, :12] += 1
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_privconvs_matrix_moves_patches() -> None:
    torch.manual_seed(0)
    model = create_model("privconv-128-4", 10, image_size=(16, 16)).double()
    model(torch.rand(2, 3, 16, 16).double())
    assert model.penalty > 0
    model.eval()
    order = torch.randperm(16)
    with torch.no_grad():
        model.permutation.copy_(torch.eye(16))
    images = torch.rand(2, 3, 16, 16).double()
    grid = images.reshape(2, 3, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(2, 16, 3, 4, 4)
    moved = grid[:, order].reshape(2, 4, 4, 3, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 16, 16)
    expected = model(images)
    assert (model(moved) - expected).abs().max() > 1e-6
    with torch.no_grad():
        model.permutation.copy_(torch.eye(16)[order].T)  # puts them back
    torch.testing.assert_close(model(moved), expected, atol=1e-12, rtol=0)
    with pytest.raises(UsageError, match="one size"):
        create_model("privconv-128-4", 10)


@pytest.mark.parametrize("kind", ["er", "whitened"])
def test_a_front_end_keeps_float32_in_runs_of_bf16(kind):
    """The inverse of a badly conditioned matrix would leave nothing of the picture in bf16."""
    from cipherlens.models import create_adaptation

    torch.manual_seed(0)
    adapt, images = create_adaptation(kind, 4, 3), torch.rand(2, 3, 8, 8)
    expected = adapt(images)
    with torch.autocast("cpu", torch.bfloat16):
        found = adapt(images)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
