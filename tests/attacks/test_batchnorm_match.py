"""A public network's BatchNorm statistics as prior of a map from ciphertexts to pictures."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from cipherlens.attacks.base import View  # noqa: E402
from cipherlens.attacks.covariance.statistics import whitening  # noqa: E402
from cipherlens.attacks.model.batchnorm_match import BatchNormAttack, begin, measure_mismatch, refine  # noqa: E402
from cipherlens.ciphers import create_cipher  # noqa: E402
from cipherlens.ciphers.blockmaps import cut_blocks  # noqa: E402
from cipherlens.ciphers.estimated_inverse import BlockInverse, EstimatedInverse  # noqa: E402
from cipherlens.data.sealed.dataset import SealedDataset  # noqa: E402
from cipherlens.data.sealed.seal import seal  # noqa: E402
from cipherlens.errors import UsageError  # noqa: E402
from cipherlens.keys import Key  # noqa: E402
from cipherlens.training import (  # noqa: E402
    TrainConfig,
    fit,
    load_run,
)
from cipherlens.training.engine.normalization import Normalization  # noqa: E402
from tests.ciphers.test_estimated_inverse import MAPS  # noqa: E402

SOURCE = "synthetic:objects?n=100&test=40&size=32"
UNIT = Normalization((0.0,) * 3, (1.0,) * 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The same images readable, under two schemes, and a run on the readable ones."""
    root, key = tmp_path_factory.mktemp("match"), Key(bytes([1]) * 32)
    for name, cipher in (
        ("plain", create_cipher("identity")),
        ("a", create_cipher("hill", block=4)),
        ("c", create_cipher("pixel-permutation")),
    ):
        seal(SOURCE, root / name, cipher, key)
    config = TrainConfig(model="preresnet20", epochs=1, batch_size=20, precision="float32", threads=1)
    plain = SealedDataset.open(root / "plain")
    fit(config, plain.split("train"), None, root / "run", plain.spec.to_json())
    return root


def split(place, name, part="test"):
    return SealedDataset.open(place / name).split(part)


def make_network(images):
    """A filter bank whose BatchNorm layers know these images (N, 3, H, W) float32."""
    torch.manual_seed(0)
    filters = nn.Conv2d(3, 24, 5, padding=2), nn.BatchNorm2d(24), nn.ReLU()
    network = nn.Sequential(nn.BatchNorm2d(3), *filters, nn.Conv2d(24, 24, 3), nn.BatchNorm2d(24))
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # a plain mean over what it sees
    with torch.no_grad():
        network.train()(torch.from_numpy(images))
    return network.eval()


def read(place, name, part="test"):
    images = split(place, name, part)
    return images.read(np.arange(len(images))) / np.float32(255 if images.dtype == "uint8" else 1)


def test_the_mismatch_is_what_its_text_says(place):
    """Against NumPy, layer by layer; none for the images that the layers know."""
    plain, ct = read(place, "plain"), read(place, "a")
    network = make_network(plain)
    with torch.no_grad():
        found = float(measure_mismatch(network, torch.from_numpy(ct)))
        assert float(measure_mismatch(network, torch.from_numpy(plain))) < 0.01 < found
        maps, expected = torch.from_numpy(ct), []
        for layer in network:
            if isinstance(layer, nn.BatchNorm2d):
                values, kept = maps.numpy().astype(np.float64), layer.running_var.numpy() + 0.01
                means, variances = values.mean(axis=(0, 2, 3)), values.var(axis=(0, 2, 3)) + 0.01
                moved = (means - layer.running_mean.numpy()) ** 2 / kept
                expected.append(np.mean(moved + np.log(variances / kept) ** 2))
            maps = layer(maps)
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


@pytest.mark.parametrize("name", ["channels", "joint"])
def test_the_first_step_sees_the_map_itself(name):
    inverse = MAPS[name]
    ct = np.random.default_rng(0).normal(size=(20, *inverse.shape)).astype(np.float32)
    network = make_network(ct)
    view = View(create_cipher("hill", block=inverse.block), ct)
    same, losses = refine(view, inverse, network, UNIT, 1)
    assert np.array_equal(same.matrices, inverse.matrices) and np.array_equal(same.offsets, inverse.offsets)
    with torch.no_grad():
        expected = float(measure_mismatch(network, torch.from_numpy(inverse.apply(ct))))
    assert losses[0] == pytest.approx(expected, rel=1e-3)
    other, losses = refine(view, inverse, network, UNIT, 30)
    assert losses[-1] < losses[0]
    with torch.no_grad():
        seen = float(measure_mismatch(network, torch.from_numpy(other.apply(ct))))
    assert seen == pytest.approx(losses[-1], rel=1e-3)


def make_pictures(count=20):
    """A map with its ciphertexts, whose blocks vary a thousand times more in one direction than in another."""
    rng = np.random.default_rng(3)
    ct = rng.normal(0, np.geomspace(1, 30, 16).reshape(4, 4).repeat(2, 0).repeat(2, 1), (count, 3, 8, 8))
    inverse = BlockInverse(
        shape=(3, 8, 8), block=4, matrices=rng.normal(0, 0.05, (3, 16, 16)), offsets=np.full((3, 16), 0.5)
    )
    return ct.astype(np.float32), inverse


def test_the_key_makes_no_difference():
    """Other coordinates of the ciphertexts, with the map in them, end in the same pictures."""
    ct, inverse = make_pictures()
    scale = np.geomspace(0.1, 10, 16).reshape(4, 4)
    other = (ct * np.tile(scale, (2, 2))).astype(np.float32)
    moved = replace(inverse, matrices=inverse.matrices / scale.reshape(16, 1))
    network = make_network(np.random.default_rng(4).normal(0.4, 0.3, (50, 3, 8, 8)).astype(np.float32))
    pictures = [
        refine(View(create_cipher("hill", block=4), seen), start, network, UNIT, 20)[0].apply(seen)
        for seen, start in ((ct, inverse), (other, moved))
    ]
    assert np.abs(pictures[0] - inverse.apply(ct)).mean() > 0.02
    assert np.abs(pictures[0] - pictures[1]).max() < 0.01


def test_contrast_turns_about_the_mean():
    """After one step of Adam the mean has moved by its own rate, in whitened coordinates, and by nothing else."""
    ct, inverse = make_pictures()
    network = make_network(np.random.default_rng(4).normal(0.4, 0.3, (50, 3, 8, 8)).astype(np.float32))
    found, _ = refine(View(create_cipher("hill", block=4), ct), inverse, network, UNIT, 2)
    for channel in range(3):
        before, after = (
            cut_blocks(one.apply(ct), 4, joint=False)[channel].reshape(-1, 16).astype(np.float64)
            for one in (inverse, found)
        )
        into = whitening(np.cov(before, rowvar=False), 16)[0]
        assert np.abs((after - before).mean(axis=0) @ into) == pytest.approx(np.full(16, 0.005), rel=0.05)


@pytest.mark.parametrize("start", ["whitened", "random"])
def test_starts_have_the_variances_of_natural_images(start, place):
    ct = read(place, "a", "train")
    inverse = begin(View(create_cipher("hill", block=4), ct, seed=1), start)
    pictures = inverse.apply(ct)
    assert pictures.mean() == pytest.approx(0.45, abs=0.02)  # of the parametric prior
    assert pictures.var(axis=(0, 2, 3)) == pytest.approx(0.06, rel=0.5)
    again = begin(View(create_cipher("hill", block=4), ct, seed=1), start)
    assert np.array_equal(again.matrices, inverse.matrices)
    other = begin(View(create_cipher("hill", block=4), ct, seed=2), start)
    assert np.array_equal(other.matrices, inverse.matrices) == (start == "whitened")


@pytest.mark.full
def test_it_mends_a_map_and_leaves_a_right_one(place):
    """Colours mixed up by a third of their contrast come right; the true map stays, and has nothing to gain."""
    plain, ct = read(place, "plain", "train"), read(place, "plain", "train")
    network, view = make_network(plain), View(create_cipher("identity"), ct)
    right = BlockInverse(shape=(3, 32, 32), block=4, matrices=np.stack([np.eye(16)] * 3), offsets=np.zeros((3, 16)))
    kept, _ = refine(view, right, network, UNIT, 30)
    assert np.abs(kept.apply(ct) - plain).mean() < 0.02
    wrong = BlockInverse(
        shape=(3, 32, 32),
        block=4,
        matrices=right.matrices * np.array([1.5, 1.0, 0.6])[:, None, None],
        offsets=np.full((3, 16), 0.1),
    )
    mended, losses = refine(view, wrong, network, UNIT, 100)
    before, after = (np.abs(found.apply(ct) - plain).mean() for found in (wrong, mended))
    assert losses[-1] < losses[0] / 5
    assert after < before / 2


def test_a_network_without_statistics_is_refused():
    with pytest.raises(UsageError, match="no BatchNorm"):
        BatchNormAttack(nn.Conv2d(3, 3, 1), UNIT)
    with pytest.raises(UsageError, match="no BatchNorm"):
        BatchNormAttack(nn.BatchNorm2d(3, track_running_stats=False), UNIT)


@pytest.mark.full
def test_on_the_command_line(call, place, tmp_path):
    arguments = ("attack", "batchnorm-match", place / "a", "--budget", "20")
    public = ("--public", place / "run")
    found = tmp_path / "map.safetensors"
    code, _, errors = call(*arguments, *public, "--start", "whitened", "--plain", SOURCE, "--save-map", found)
    assert code == 0, errors
    assert EstimatedInverse.load(found).block == 4
    code, _, errors = call("decrypt", place / "a", tmp_path / "pictures", "--map", found)
    assert code == 0, errors
    for options, message in (
        ((), "needs a public network\n  hint: name it (--public)"),
        ((*public, "--weights", found), "weights of its own"),
        (("--public", "no-such-model", "--weights", found), "unknown model"),
    ):
        code, _, errors = call(*arguments, *options, "--plain", SOURCE)
        assert code == 2 and message in errors, errors
    code, _, errors = call("attack", "covariance", place / "a", "--plain", SOURCE, "--start", "whitened")
    assert code == 2 and "start is not for the covariance attack\n  hint: leave it away (--start)" in errors
    code, _, errors = call("attack", "batchnorm-match", place / "c", *public, "--plain", SOURCE)
    assert code == 2 and "does not apply" in errors


def test_a_run_on_encrypted_images_is_no_public_network(call, place, tmp_path):
    hill = split(place, "a", "train")
    config = TrainConfig(model="preresnet20", epochs=1, batch_size=200, precision="float32", threads=1)
    fit(config, hill, None, tmp_path / "run", {"cipher": "hill"})
    assert load_run(tmp_path / "run").provenance["cipher"] == "hill"
    code, _, errors = call(
        "attack", "batchnorm-match", place / "a", "--public", tmp_path / "run", "--plain", SOURCE
    )
    assert code == 2 and "not trained on plain images" in errors
