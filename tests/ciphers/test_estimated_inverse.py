"""Maps that attacks find: they read further ciphertexts, travel as files, and are refused for other images."""

import json
import stat

import numpy as np
import pytest
from PIL import Image

from cipherlens.attacks.base import View, to_unit
from cipherlens.attacks.covariance.attack import attack_covariance
from cipherlens.attacks.positions.pixel_correlation import attack_correlation
from cipherlens.ciphers import create_cipher
from cipherlens.ciphers.estimated_inverse import BlockInverse, EstimatedInverse, PositionInverse, Target
from cipherlens.cli.main import execute
from cipherlens.data.synthetic import dataset as synthetic
from cipherlens.errors import CipherlensError, DataError, KeyFailureError, ShapeError, UsageError
from cipherlens.evaluation.metrics import mean_similarity
from cipherlens.keys import Key
from tests.attacks.test_pixel_correlation import clouds

KEY = Key(bytes(range(32)))
SOURCE = "synthetic:objects?n=400&test=300"
TARGET = Target("hill", {"block": 4, "orthogonal": False}, KEY.fingerprint)


def photos(split, count):
    return synthetic.generate(synthetic.parse_name(SOURCE.partition(":")[2]).indices(split)[:count]).images


def make_block_inverse(channels=3, block=2, joint=False, halves=False, seed=0):
    rng = np.random.default_rng(seed)
    n = block**2 * (channels * (2 if halves else 1) if joint else 1)
    count = 1 if joint else channels
    return BlockInverse(
        shape=(channels, 4, 6),
        block=block,
        matrices=rng.normal(size=(count, n, n)),
        offsets=rng.normal(size=(count, n)),
        halves=halves,
    )


def make_position_inverse():
    return PositionInverse(shape=(3, 4, 6), source=np.random.default_rng(0).permutation(24))


MAPS = {
    "channels": make_block_inverse(),
    "joint": make_block_inverse(joint=True),
    "halves": make_block_inverse(joint=True, halves=True),
    "positions": make_position_inverse(),
}


@pytest.mark.parametrize("name", MAPS)
def test_files_hold_the_same_map(name, tmp_path):
    inverse, path = MAPS[name], tmp_path / "map.safetensors"
    inverse.save(path, TARGET)
    again = EstimatedInverse.load(path)
    assert (type(again), again.shape, again.target) == (type(inverse), inverse.shape, TARGET)
    ct = np.random.default_rng(1).integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
    assert np.array_equal(again.apply(ct), inverse.apply(ct))
    assert np.array_equal(again.apply(to_unit(ct)), inverse.apply(ct))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="exists"):
        inverse.save(path, TARGET)
    with pytest.raises(UsageError, match="safetensors"):
        inverse.save(tmp_path / "map.txt", TARGET)


def test_a_block_map_is_affine_block_by_block():
    inverse = make_block_inverse()
    ct = np.random.default_rng(2).random((2, 3, 4, 6), dtype=np.float32)
    found = inverse.apply(ct)
    for image in range(2):
        for channel in range(3):
            for row in range(0, 4, 2):
                for column in range(0, 6, 2):
                    block = ct[image, channel, row : row + 2, column : column + 2].ravel()
                    wanted = block @ inverse.matrices[channel] + inverse.offsets[channel]
                    got = found[image, channel, row : row + 2, column : column + 2].ravel()
                    np.testing.assert_allclose(got, wanted, atol=1e-5)
    np.testing.assert_allclose(inverse.negate().apply(ct), 1 - found, atol=1e-5)


def test_other_shapes_are_refused():
    for shape in ((3, 4, 6), (1, 3, 6, 4), (1, 1, 4, 6)):
        with pytest.raises(ShapeError, match="map is for"):
            make_position_inverse().apply(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts["map"].update(block=3),
        lambda facts: facts["map"].update(shape=[3, 4, 7]),
        lambda facts: facts["map"].update(shape=[1, 4, 6]),
        lambda facts: facts["map"].pop("halves"),
        lambda facts: facts["target"].pop("cipher"),
        lambda facts: facts.pop("map"),
    ],
)
def test_files_that_contradict_themselves(change, tmp_path):
    from safetensors.numpy import save_file

    inverse = make_block_inverse()
    facts = {"target": dict(vars(TARGET)), "map": inverse._facts()}
    change(facts)
    metadata = {"kind": "block", "facts": json.dumps(facts)}
    save_file({"matrices": inverse.matrices, "offsets": inverse.offsets}, tmp_path / "m.safetensors", metadata)
    with pytest.raises(DataError, match="holds no map"):
        EstimatedInverse.load(tmp_path / "m.safetensors")


def test_damaged_files(tmp_path):
    path = tmp_path / "map.safetensors"
    make_block_inverse().save(path, TARGET)
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(200):
        damaged = bytearray(content[: rng.integers(len(content) + 1)] if rng.random() < 0.3 else content)
        for _ in range(rng.integers(1, 8)):
            if damaged:
                damaged[rng.integers(min(len(damaged), 500))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            EstimatedInverse.load(path).apply(np.zeros((1, 3, 4, 6), np.float32))
        except CipherlensError:
            continue
    for content in (b"", b"{}", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(DataError):
            EstimatedInverse.load(path)
    with pytest.raises(DataError):
        EstimatedInverse.load(tmp_path)


@pytest.mark.parametrize(("name", "least"), [("hill", 0.9), ("shf", 0.7)])
def test_covariance_reads_pictures_that_it_has_not_seen(name, least):
    cipher = create_cipher(name, block=4)
    bound = cipher.bind(KEY, (3, 32, 32))
    seen, unseen, public = photos("test", 200), photos("test", 300)[200:], photos("train", 400)
    view = View(cipher, to_unit(bound.encrypt(seen)), to_unit(public))
    inverse, _ = attack_covariance(view)
    assert mean_similarity(inverse.apply(bound.encrypt(unseen)), to_unit(unseen)) > least
    other = cipher.bind(Key(bytes(32)), (3, 32, 32))
    assert mean_similarity(inverse.apply(other.encrypt(unseen)), to_unit(unseen)) < 0.5


def test_on_a_real_cipher_the_map_reads_nothing():
    bound = create_cipher("stream").bind(KEY, (3, 32, 32))
    seen, unseen, public = photos("test", 200), photos("test", 300)[200:], photos("train", 400)
    ct = to_unit(bound.encrypt(seen)[:, :, :32])
    inverse, _ = attack_covariance(View(create_cipher("hill", **TARGET.params), ct, to_unit(public)))
    guess = np.broadcast_to(to_unit(public).mean(axis=0), unseen.shape).astype(np.float32)
    found = mean_similarity(inverse.apply(bound.encrypt(unseen)[:, :, :32]), to_unit(unseen))
    assert found < mean_similarity(guess, to_unit(unseen)) + 0.02


def test_correlation_reads_pictures_that_it_has_not_seen():
    images, public = clouds(850), clouds(1500, seed=99)
    bound = create_cipher("pixel-permutation").bind(KEY, (3, 16, 16))
    view = View(create_cipher("pixel-permutation"), to_unit(bound.encrypt(images[:800])), to_unit(public))
    inverse, _ = attack_correlation(view)
    found, plain = inverse.apply(bound.encrypt(images[800:])), to_unit(images[800:])
    poses = [found, found[:, :, ::-1], found[..., ::-1], found[:, :, ::-1, ::-1]]
    assert max(float((pose == plain).mean()) for pose in poses) == 1


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Sets under one key and another, with other blocks, with a key per image."""
    root = tmp_path_factory.mktemp("maps")
    KEY.save(root / "client.key")
    Key(bytes(32)).save(root / "other.key")
    for name, key, options in (
        ("sealed", "client", ["--block", "4"]),
        ("stranger", "other", ["--block", "4"]),
        ("blocks", "client", ["--block", "8"]),
        ("scheme", "client", ["--cipher", "np", "--block", "4"]),
        ("apart", "client", ["--cipher", "negpos", "--per-image"]),
    ):
        assert execute(["encrypt", SOURCE, str(root / name), "--key", str(root / f"{key}.key"), *options]) == 0
    return root


@pytest.mark.parametrize("scored", [True, False])
def test_an_eavesdropper_s_pictures_as_files(call, place, tmp_path, scored):
    plain = ["--plain", SOURCE] if scored else ["--prior", "synthetic:objects?n=400&seed=5"]
    file = tmp_path / "map.safetensors"
    code, _, err = call("attack", "covariance", place / "sealed", "--save-map", file, *plain)
    assert code == 0, err
    assert "treat it like the key" in err
    code, out, err = call("decrypt", place / "sealed", tmp_path / "read", "--map", file)
    assert code == 0, err
    assert "without the key" in out
    assert call("decrypt", place / "sealed", tmp_path / "right", "--key", place / "client.key")[0] == 0
    paths = sorted((tmp_path / "right").rglob("*.png"))
    assert len(paths) == 700
    found, wanted = (
        np.stack([to_unit(np.asarray(Image.open(root / path.relative_to(tmp_path / "right")))) for path in paths])
        for root in (tmp_path / "read", tmp_path / "right")
    )
    assert mean_similarity(found.transpose(0, 3, 1, 2), wanted.transpose(0, 3, 1, 2)) > 0.85
    for name, words in (("stranger", "key"), ("blocks", "cipher with"), ("scheme", "cipher")):
        code, _, err = call("decrypt", place / name, tmp_path / name, "--map", file)
        assert (code, words in err, (tmp_path / name).exists()) == (3, True, False), err
    assert call("attack", "covariance", place / "sealed", "--save-map", file, *plain)[0] == 2


def test_what_cannot_be_mapped(call, place, tmp_path):
    file = ["--save-map", tmp_path / "map.safetensors"]
    assert call("attack", "feature-reconstruction", place / "apart", "--plain", SOURCE, *file)[0] == 2
    assert call("decrypt", place / "sealed", tmp_path / "out")[0] == 2
    both = ["--key", place / "client.key", "--map", tmp_path / "map.safetensors"]
    assert call("decrypt", place / "sealed", tmp_path / "out", *both)[0] == 2
    assert call("decrypt", place / "sealed", tmp_path / "out", "--map", place / "client.key")[0] == 4
    assert not (tmp_path / "out").exists()


def test_pairs_give_a_map_that_reads_the_rest(call, place, tmp_path):
    found = tmp_path / "map.safetensors"
    code, _, err = call("attack", "known-plaintext", place / "sealed", "--plain", SOURCE, "--save-map", found)
    assert code == 0, err
    assert call("decrypt", place / "sealed", tmp_path / "read", "--map", found)[0] == 0
    assert call("decrypt", place / "sealed", tmp_path / "back", "--key", place / "client.key")[0] == 0
    read, back = (sorted((tmp_path / name).rglob("*.png")) for name in ("read", "back"))
    assert len(read) == len(back) > 10
    assert all(one.read_bytes() == other.read_bytes() for one, other in zip(read, back, strict=True))


def test_a_map_names_what_differs():
    inverse = make_block_inverse()
    with pytest.raises(KeyFailureError, match="cipher"):
        BlockInverse(**{**vars(inverse), "target": TARGET}).require_target(Target("np", {}, KEY.fingerprint))
