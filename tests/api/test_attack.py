"""cl.attack: arrays and sealed data sets, scored or not, as the command scores them."""

import json
import pickle

import numpy as np
import pytest

pytest.importorskip("torchmetrics")

import cipherlens as cl
from cipherlens.api.attackers import AttackResources
from cipherlens.cli.main import execute
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import KeyFailureError, ShapeError, UsageError

SOURCE = "synthetic:tiny?n=60&test=48&size=32"
KEY = cl.Key(bytes([9]) * 32)


@pytest.fixture(scope="module")
def plain():
    source = open_source(SOURCE)
    return np.stack([item.decode() for item in source.read("test", range(48))])


@pytest.fixture(scope="module")
def public():
    source = open_source(SOURCE)
    return np.stack([item.decode() for item in source.read("train", range(60))])


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    out = tmp_path_factory.mktemp("attack") / "sealed"
    cl.seal(SOURCE, out, cl.create_cipher("hill", block=4), KEY)
    return out


def bind(name, **params):
    return cl.create_cipher(name, **params).bind(KEY, (3, 32, 32))


def test_arrays_are_read_and_scored(plain, public):
    bound = bind("hill", block=4)
    ct = bound.encrypt(plain)
    read = cl.attack("covariance", ct, cipher=bound.cipher, plain=plain, public=public)
    assert read.reconstruction.shape == plain.shape and read.reconstruction.dtype == np.float32
    assert read.ssim > 0.8 and read.guess_ssim < 0.6 and read.ciphertexts == 48
    np.testing.assert_array_equal(read.numbers, np.arange(48))
    np.testing.assert_allclose(read.inverse.apply(ct), read.reconstruction, atol=1e-5)


def test_the_originals_tell_an_eavesdropper_nothing(plain, public):
    """The same pictures with and without them, and without a score where there are none."""
    bound = bind("hill", block=4)
    ct = bound.encrypt(plain)
    scored = cl.attack("covariance", ct, cipher=bound.cipher, plain=plain, public=public, seed=3, starts=1)
    blind = cl.attack("covariance", ct, cipher=bound.cipher, public=public, seed=3, starts=1)
    np.testing.assert_array_equal(scored.reconstruction, blind.reconstruction)
    assert blind.ssim is None and blind.guess_ssim is None and blind.flags == ()
    with pytest.raises(UsageError, match="compare with"):
        blind.write_pictures("nowhere.png")


def test_floats_one_image_and_torch(plain):
    torch = pytest.importorskip("torch")
    bound = bind("negpos")
    ct = bound.encrypt(plain)
    ways = (ct, torch.from_numpy(ct)), (plain, torch.from_numpy(plain).float() / 255)
    first, second = (
        cl.attack("neighbours", images, cipher=bound.cipher, plain=originals)
        for images, originals in zip(*ways, strict=True)
    )
    assert first.ssim == pytest.approx(second.ssim, abs=1e-6) and first.ssim > 0.9
    one = cl.attack("feature-reconstruction", ct[0], cipher=bound.cipher, plain=plain[0])
    assert one.reconstruction.shape == (1, 3, 32, 32) and one.flags


def test_known_pairs_are_spent_and_chosen_ones_need_the_key(plain):
    bound = bind("pixel-permutation")
    ct = bound.encrypt(plain)
    known = cl.attack("known-plaintext", ct, cipher=bound.cipher, plain=plain, budget=40)
    np.testing.assert_array_equal(known.numbers, np.arange(40, 48))
    assert known.evaluation.budget == 40 and known.ssim > 0.9
    chosen = cl.attack("chosen-plaintext", ct, cipher=bound.cipher, plain=plain, key=KEY)
    assert chosen.ssim == pytest.approx(1) and len(chosen.numbers) == 48
    for arguments, said in (
        ({"plain": plain}, "needs the client's key"),
        ({"key": KEY}, "needs the plain images"),
    ):
        with pytest.raises(UsageError, match=said):
            cl.attack("chosen-plaintext", ct, cipher=bound.cipher, **arguments)
    with pytest.raises(UsageError, match="needs the plain images"):
        cl.attack("known-plaintext", ct, cipher=bound.cipher)


def test_real_encryption_is_the_control(plain, public):
    bound = cl.create_cipher("stream").bind(KEY, (3, 32, 32))
    read = cl.attack("covariance", bound.encrypt(plain), cipher=bound.cipher, plain=plain, public=public)
    assert not read.evaluation.beats_guessing


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"plain": np.zeros((3, 3, 32, 32), np.uint8)}, ShapeError, "48 ciphertexts and 3 plain images"),
        ({"plain": "photos"}, UsageError, "are arrays"),
        ({"public": "photos"}, UsageError, "are arrays"),
        ({"plain": np.zeros((48, 3, 32, 32), np.int64)}, ShapeError, "int64"),
        ({"plain": np.full((48, 3, 32, 32), 255.0)}, ShapeError, "between 0 and 1"),
        ({"plain": np.zeros((48, 3, 32, 16), np.uint8)}, ShapeError, "those of"),
        ({"budget": 0}, UsageError, "budget is at least 1"),
        ({"starts": -1}, UsageError, "starts is at least 1"),
        ({"split": "test"}, UsageError, "for sealed data sets"),
        ({"resources": AttackResources(round=1)}, UsageError, "for sealed data sets"),
        ({"key": KEY}, UsageError, "the client's key is not for the covariance attack"),
    ],
)
def test_what_does_not_fit_arrays(plain, arguments, error, said):
    with pytest.raises(error, match=said):
        cl.attack("covariance", bind("hill", block=4).encrypt(plain), cipher=cl.create_cipher("hill"), **arguments)


def test_unknown_and_inapplicable_attacks_name_the_others(plain):
    bound = bind("negpos")
    ct = bound.encrypt(plain)
    with pytest.raises(UsageError, match="choose one of"):
        cl.attack("covarianze", ct, cipher=bound.cipher)
    with pytest.raises(UsageError, match=r"attacks that do: .*neighbours"):
        cl.attack("levels", ct, cipher=bound.cipher)
    with pytest.raises(UsageError, match="finds no map"):
        cl.attack("feature-reconstruction", ct, cipher=bound.cipher, plain=plain, needs_map=True)


def test_a_sealed_set_is_attacked_as_the_command_does(sealed, capsys, tmp_path):
    arguments = ["attack", "covariance", str(sealed), "--plain", SOURCE, "--json"]
    assert execute([*arguments, "--pictures", str(tmp_path / "command.png")]) == 0
    said = json.loads(capsys.readouterr().out)
    read = cl.attack("covariance", sealed, plain=SOURCE, public="plain")
    facts = json.loads(json.dumps(read.evaluation.to_json()))
    different = {"seconds"}
    assert {k: v for k, v in facts.items() if k not in different} == {
        k: v for k, v in said.items() if k not in (*different, "sealed", "cipher")
    }
    read.write_pictures(tmp_path / "python.png")
    assert (tmp_path / "python.png").read_bytes() == (tmp_path / "command.png").read_bytes()


def test_a_sealed_set_alone_gives_a_map(sealed):
    dataset = cl.SealedDataset.open(sealed)
    read = cl.attack("covariance", dataset, public=SOURCE, starts=1, needs_map=True)
    assert read.evaluation is None and read.ciphertexts == 60  # the split with most images
    pictures = read.inverse.apply(dataset.split("test").read(np.arange(48)))
    source = open_source(SOURCE)
    plain = np.stack([item.decode() for item in source.read("test", range(48))]) / 255
    assert np.corrcoef(pictures.ravel(), plain.ravel())[0, 1] > 0.9


def test_a_sealed_set_knows_its_cipher(sealed, plain):
    for arguments in ({"cipher": cl.create_cipher("negpos")}, {"plain": plain}, {"public": plain}):
        with pytest.raises(UsageError, match="knows its cipher"):
            cl.attack("covariance", sealed, **arguments)


def test_the_key_has_to_be_that_of_the_ciphertexts(plain):
    bound = bind("pixel-permutation")
    ct = bound.encrypt(plain)
    with pytest.raises(KeyFailureError, match="not made with this key"):
        cl.attack("chosen-plaintext", ct, cipher=bound.cipher, plain=plain, key=cl.Key.generate())
    report = cl.attack("chosen-plaintext", ct, cipher=bound.cipher, plain=plain, key=KEY)
    assert report.target.bound is None  # a result holds no key
    pickle.loads(pickle.dumps(report))


def test_a_budget_limits_what_an_eavesdropper_sees(plain, public):
    bound = bind("hill", block=4)
    ct = bound.encrypt(plain)
    few = cl.attack("covariance", ct, cipher=bound.cipher, public=public, budget=20, starts=1)
    assert len(few.reconstruction) == 20
    many = cl.attack("covariance", ct, cipher=bound.cipher, public=public, budget=1_000, starts=1)
    assert len(many.reconstruction) == 48


def test_tensors_of_any_kind(plain, tmp_path):
    torch = pytest.importorskip("torch")
    bound = bind("negpos")
    ct = torch.from_numpy(bound.encrypt(plain))
    originals = (torch.from_numpy(plain).double() / 255).requires_grad_()
    report = cl.attack("neighbours", ct, cipher=bound.cipher, plain=originals)
    assert report.ssim > 0.9
    report.write_pictures(tmp_path / "pictures.png")


def test_a_taller_ciphertext_has_its_images_shape(plain, public):
    bound = bind("stream")
    ct = bound.encrypt(plain)
    read = cl.attack("covariance", ct, cipher=bound.cipher, public=public, starts=1)
    assert read.reconstruction.shape == plain.shape


def test_what_needs_originals_is_refused_before_anything_is_read(sealed):
    with pytest.raises(UsageError, match="needs the plain images"):
        cl.attack("known-plaintext", sealed, public="no such source")


def test_pictures_without_originals_are_refused_at_once(sealed, call, tmp_path):
    target = tmp_path / "map.safetensors"
    code, _, err = call("attack", "covariance", sealed, "--save-map", target, "--pictures", tmp_path / "p.png")
    assert code == 2 and "--plain" in err and not target.exists()
    code, _, err = call("attack", "adaptation", sealed, "--plain", SOURCE, "--run", "x", "--round", "2.5")
    assert code == 2 and "not a whole number" in err
