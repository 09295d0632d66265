"""``fold``: plain-trained networks with a patch embedding take encrypted images and answer the same."""

import json
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from timm.models.mlp_mixer import MlpMixer  # noqa: E402

import cipherlens as cl  # noqa: E402
from cipherlens.ciphers.structure import index_blocks  # noqa: E402
from cipherlens.data.sealed.dataset import SealedDataset  # noqa: E402
from cipherlens.errors import PrecisionWarning, ShapeError, UsageError  # noqa: E402
from cipherlens.keyed.blockmap import find_block_map  # noqa: E402
from cipherlens.keys import Key  # noqa: E402

SHAPE = (3, 32, 48)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
OPTIONS = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}


def spread(model):
    """Random weights large enough that images, and places in them, decide the answer."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def make_vit(name="vit_tiny_patch16_224"):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **OPTIONS).eval()
    return spread(model)


def make_convnext():
    torch.manual_seed(0)
    return timm.create_model("convnext_atto", num_classes=7, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32)).eval()


def make_mixer():
    torch.manual_seed(0)
    model = MlpMixer(num_classes=7, img_size=(32, 48), patch_size=8, embed_dim=24, num_blocks=2)
    return spread(model).eval()


def bind(name, shape=SHAPE, **params):
    return cl.create_cipher(name, **params).bind(Key(bytes(range(32))), shape)


def make_images(count=16, shape=SHAPE):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8))


def predict(model, images):
    with torch.inference_mode():
        return model(images / 255 if images.dtype == torch.uint8 else images)


def check(model, bound):
    """Relative logit error of the folded model on encrypted images against the plain one on plain images."""
    images = make_images()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = predict(model, (images / 255 - mean) / std)
    found = predict(cl.fold(model, bound, MEAN, STD), bound.encrypt(images))
    assert (found.argmax(1) == expected.argmax(1)).all()
    assert len(expected.argmax(1).unique()) > 1
    return float((found - expected).abs().max() / expected.abs().max())


FOLDING = [
    *(("hill", {"block": b}) for b in (2, 4, 8)),
    ("hill", {"block": 8, "orthogonal": True}),
    ("shf", {"block": 4}),
    ("np", {"block": 8}),
    ("patch", {"block": 8}),
    ("patch", {"block": 8, "orthogonal": True}),
    ("np+shf", {"block": 4}),
    ("identity", {}),
]
MOVING = [
    ("block-scrambling", {"block": 8}),
    ("patch", {"block": 8, "scramble": True}),
    ("patch", {"block": 8, "scramble": True, "orthogonal": True}),
    ("np+block-scrambling", {"block": 8}),
    ("hill+block-scrambling", {"block": 8}),
]


@pytest.mark.parametrize(("name", "params"), [*FOLDING, *MOVING])
def test_a_vision_transformer_answers_the_same(name, params):
    assert check(make_vit(), bind(name, **params)) <= 1e-5


@pytest.mark.parametrize("make", [make_convnext, make_mixer])
@pytest.mark.parametrize(("name", "params"), [("hill", {"block": 4}), ("np", {"block": 2}), ("shf", {"block": 4})])
def test_other_networks_with_patches_answer_the_same(make, name, params):
    assert check(make(), bind(name, **params)) <= 1e-5


def test_prefix_tokens_stay_where_they_are():
    model = make_vit("deit_tiny_distilled_patch16_224")
    assert model.num_prefix_tokens == 2
    assert check(model, bind("patch", block=8, scramble=True)) <= 1e-5


def test_the_plain_model_stays_as_it_was_and_a_wrong_key_gives_other_answers():
    model, images = make_vit(), make_images()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    bound = bind("hill", block=4)
    folded = cl.fold(model, bound, MEAN, STD)
    assert all((before[name] == tensor).all() for name, tensor in model.state_dict().items())
    other = cl.create_cipher("hill", block=4).bind(Key(bytes(32)), SHAPE)
    expected = predict(model, images)
    wrong = predict(folded, other.encrypt(images))
    assert (wrong - expected).abs().max() > 0.1 * expected.abs().max()
    changed = [name for name, tensor in folded.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["patch_embed.proj.weight", "patch_embed.proj.bias"]


def test_a_layer_without_bias_gets_one():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 8, 8, bias=False), torch.nn.Flatten(), torch.nn.Linear(120, 4)
    )
    assert check(model, bind("np", block=4)) <= 1e-5
    assert model[0].bias is None


@pytest.mark.parametrize(
    ("name", "params", "reason"),
    [
        ("negpos", {}, "every block"),
        ("pe", {}, "every block"),
        ("ele", {}, "every block|affine"),
        ("etc", {"block": 8}, "every block"),
        ("le", {}, "affine"),
        ("ffx", {}, "affine|every block"),
        ("hill-mod256", {}, "affine"),
        ("stream", {}, "another shape"),
        ("negpos", {"per_image": True}, "every image"),
        ("pixel-permutation", {}, "moves"),
        ("block-scrambling", {"block": 4}, "moves blocks of 4x4"),
        ("shf", {"block": 16}, "whole blocks"),
    ],
)
def test_what_cannot_be_folded_says_why(name, params, reason):
    with pytest.raises(UsageError, match=reason):
        cl.fold(make_vit(), bind(name, **params))


def test_networks_that_cannot_be_folded_say_why():
    with pytest.raises(UsageError, match="does not cut patches"):
        cl.fold(timm.create_model("resnet10t"), bind("hill", block=4))
    with pytest.raises(UsageError, match="knows where patches lie"):
        cl.fold(make_convnext(), bind("block-scrambling", block=4))
    with pytest.raises(UsageError, match="no convolution"):
        cl.fold(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4608, 2)), bind("hill", block=4))
    with pytest.raises(UsageError, match="does not take images"):
        cl.fold(make_vit(), bind("hill", shape=(3, 16, 16), block=4))
    with pytest.raises(UsageError, match="std above 0"):
        cl.fold(make_vit(), bind("hill", block=4), (0, 0, 0), (1, 0, 1))


def test_a_badly_conditioned_key_is_said_to_be_one():
    cipher = cl.create_cipher("hill", block=4)
    drawn = [cipher.bind(Key(bytes([number] * 32)), SHAPE) for number in range(60)]
    good, poor = min(drawn, key=lambda b: b.condition), max(drawn, key=lambda b: b.condition)
    assert poor.condition > 1000
    with pytest.warns(PrecisionWarning, match="condition number"):
        cl.fold(make_vit(), poor)
    with warnings.catch_warnings():
        warnings.simplefilter("error", PrecisionWarning)
        cl.fold(make_vit(), good)


def test_the_map_that_is_read_off_is_the_ciphers_own():
    bound = bind("patch", block=8, orthogonal=True, scramble=True)
    found = find_block_map(bound)
    assert found.moves
    np.testing.assert_allclose(found.matrix, bound.matrix, atol=1e-6)
    np.testing.assert_allclose(found.shift, 0, atol=1e-6)
    places = index_blocks(SHAPE, 8)
    plain = make_images(2).numpy()
    ct = bound.encrypt(plain).reshape(2, -1)[:, places]
    expected = plain.reshape(2, -1)[:, places][:, found.order] / 255 @ found.matrix
    np.testing.assert_allclose(ct, expected, atol=1e-5)


def test_folding_a_run_from_the_command_line(call, tmp_path):
    key = tmp_path / "k"
    Key(bytes(range(32))).save(key)
    source = "synthetic:tiny?n=40&test=60"
    for name, options in (("plain", ["identity"]), ("hill", ["hill", "--block", 4]), ("pe", ["pe"])):
        assert call("encrypt", source, tmp_path / name, "--key", key, "--cipher", *options)[0] == 0
    run = tmp_path / "run"
    train = ("--model", "convnext_atto", "--epochs", 1, "--optimizer", "adamw", "--threads", 1)
    assert call("train", tmp_path / "plain", "--out", run, *train)[0] == 0
    fold = ("--key", key, "--out", tmp_path / "folded")
    code, _, err = call("fold", run, "--sealed", tmp_path / "pe", *fold)
    assert code == 2 and "every block" in err
    assert not (tmp_path / "folded").exists()
    assert call("fold", run, "--sealed", tmp_path / "hill", *fold)[0] == 0
    assert call("fold", run, "--sealed", tmp_path / "hill", *fold)[0] == 2  # exists
    assert (
        call("fold", tmp_path / "folded", "--sealed", tmp_path / "hill", "--key", key, "--out", tmp_path / "x")[0]
        == 2
    )
    assert call("test", tmp_path / "folded", tmp_path / "plain")[0] == 3
    attack = (
        "attack",
        "folded-model",
        tmp_path / "hill",
        "--plain",
        source,
        "--run",
        tmp_path / "folded",
        "--json",
    )
    code, out, err = call(*attack, "--public", run)
    assert code == 0, err
    assert json.loads(out)["exact_pixels"] > 0.99
    assert call(*attack)[0] == 2
    code, _, err = call(*attack, "--public", tmp_path / "folded")
    assert (code, "plain images" in err) == (2, True)
    from dataclasses import replace

    from cipherlens.training import load_run
    from cipherlens.training.run.load import predict as answer

    plain, folded = replace(load_run(run, "last"), precision="float32"), load_run(tmp_path / "folded", "last")
    expected, found = (
        answer(loaded, SealedDataset.open(tmp_path / name).split("test").read_all())
        for loaded, name in ((plain, "plain"), (folded, "hill"))
    )
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_shapes_must_agree(tmp_path, call):
    key = tmp_path / "k"
    Key(bytes(range(32))).save(key)
    for name, size in (("a", 16), ("b", 32)):
        options = ("--key", key, "--cipher", "identity")
        assert call("encrypt", f"synthetic:tiny?n=20&test=20&size={size}", tmp_path / name, *options)[0] == 0
    train = ("--model", "preresnet20", "--epochs", 1, "--threads", 1)
    assert call("train", tmp_path / "a", "--out", tmp_path / "run", *train)[0] == 0
    from cipherlens.training.keyed_runs.fold import fold_run

    with pytest.raises(ShapeError):
        fold_run(tmp_path / "run", tmp_path / "out", SealedDataset.open(tmp_path / "b"), Key.load(key))


@pytest.mark.parametrize("made_there", [False, True])
def test_inside_inference_mode(made_there: bool) -> None:
    torch.manual_seed(0)
    with torch.inference_mode(made_there):
        model = cl.create_model("vit-cifar", 10, image_size=(32, 32)).eval()
    bound = cl.create_cipher("hill", block=4).bind(cl.Key.generate(), (3, 32, 32))
    with torch.inference_mode():
        folded = cl.fold(model, bound)
    assert not any(parameter.is_inference() for parameter in folded.parameters())
    folded(torch.ones(2, 3, 32, 32)).sum().backward()
