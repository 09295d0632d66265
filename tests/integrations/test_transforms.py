"""Encrypt and Decrypt as torchvision's users take them, in workers too."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cipherlens as cl
from cipherlens.errors import KeyFailureError, ShapeError, UsageError
from cipherlens.keys import Key
from tests.conftest import smooth_images
from tests.security.secrets.needles import Needles, encode_cipher, encode_secret
from tests.security.secrets.search import Finder

torch = pytest.importorskip("torch")
v2, tv_tensors = (pytest.importorskip(f"torchvision.{name}") for name in ("transforms.v2", "tv_tensors"))

KEY, OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))
PERMUTATION = cl.create_cipher("pixel-permutation")
PHOTOS = smooth_images(12, 32)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    KEY.save(tmp_path / "client.key")
    return tmp_path / "client.key"


def bind(cipher: cl.ciphers.Cipher) -> cl.ciphers.BoundCipher:
    return cipher.bind(KEY, (3, 32, 32))


@pytest.mark.parametrize("name", ["hill", "pixel-permutation", "negpos", "ele", "etc", "shf", "hill-mod256"])
def test_all_kinds_of_images_are_encrypted_alike(name: str, key_file: Path) -> None:
    cipher = cl.create_cipher(name)
    encrypt, decrypt = cl.transforms.Encrypt(key_file, cipher), cl.transforms.Decrypt(key_file, cipher)
    batch = torch.from_numpy(PHOTOS)
    expected = bind(cipher).encrypt(PHOTOS)
    np.testing.assert_allclose(encrypt(batch).numpy(), expected, rtol=1e-5, atol=1e-4)
    assert type(encrypt(batch)) is torch.Tensor
    forms = {
        "tensor": batch[3],
        "image": tv_tensors.Image(batch[3]),
        "PIL": Image.fromarray(PHOTOS[3].transpose(1, 2, 0)),
    }
    for form, image in forms.items():
        found = encrypt(image)
        np.testing.assert_allclose(found.numpy(), expected[3], rtol=1e-5, atol=1e-4, err_msg=form)
        assert isinstance(found, tv_tensors.Image) == (form != "tensor")
        assert torch.equal(decrypt(found).as_subclass(torch.Tensor), batch[3]), form


def test_masks_move_with_their_image(key_file: Path) -> None:
    encrypt, decrypt = (kind(key_file, PERMUTATION) for kind in (cl.transforms.Encrypt, cl.transforms.Decrypt))
    image, mask = tv_tensors.Image(PHOTOS[0]), tv_tensors.Mask(torch.from_numpy(PHOTOS[0, :1] // 32).long())
    label = torch.tensor(7)
    sample = encrypt({"image": image, "mask": mask, "label": label, "name": "a"})
    assert torch.equal(sample["image"][:1] // 32, sample["mask"]) and not torch.equal(sample["mask"], mask)
    assert isinstance(sample["mask"], tv_tensors.Mask) and sample["mask"].dtype == torch.int64
    assert sample["label"] is label and sample["name"] == "a"
    back = decrypt(sample)
    assert torch.equal(back["mask"], mask) and torch.equal(back["image"], image)
    with pytest.raises(UsageError, match="a mask cannot follow"):
        cl.transforms.Encrypt(key_file, cl.create_cipher("hill"))(image, mask)
    with pytest.raises(ShapeError, match="classes"):
        encrypt(image, tv_tensors.Mask(torch.full((32, 32), 300)))


class Photos(torch.utils.data.Dataset):  # type: ignore[misc]
    """What a user writes."""

    def __init__(self, transform: object) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return len(PHOTOS)

    def __getitem__(self, index: int) -> tuple[object, int]:
        return self.transform(Image.fromarray(PHOTOS[index].transpose(1, 2, 0))), index  # type: ignore[operator]


@pytest.mark.parametrize("context", ["spawn", "fork"])
def test_workers_encrypt_alike(context: str, key_file: Path) -> None:
    steps = [v2.Resize(32), cl.transforms.Encrypt(key_file, PERMUTATION), v2.ToDtype(torch.float32, scale=True)]
    photos = Photos(v2.Compose(steps))
    loader = torch.utils.data.DataLoader(photos, 4, num_workers=2, multiprocessing_context=context)
    found = torch.cat([images for images, _ in loader])
    assert np.array_equal((found * 255).round().byte().numpy(), bind(PERMUTATION).encrypt(PHOTOS))


def test_a_pickle_holds_no_key(key_file: Path, tmp_path: Path) -> None:
    encrypt = cl.transforms.Encrypt(key_file, cl.create_cipher("hill", block=4))
    before = encrypt(torch.from_numpy(PHOTOS))  # so that it is bound
    packed = pickle.dumps(encrypt)
    torch.save(encrypt, tmp_path / "transform.pt")
    needles: Needles = encode_secret(KEY.to_bytes(), "key") | encode_cipher(bind(cl.create_cipher("hill", block=4)))
    finder = Finder(needles)
    assert not finder.search(packed) and not finder.search_files(tmp_path / "transform.pt")
    assert not finder.search(b"x\n" + (tmp_path / "transform.pt").read_bytes())
    assert torch.equal(pickle.loads(packed)(torch.from_numpy(PHOTOS)), before)
    assert repr(encrypt) == f"Encrypt(HillCipher(block=4, orthogonal=False), key {KEY.fingerprint})"


def test_another_key_in_the_file_is_noticed(key_file: Path) -> None:
    packed = pickle.dumps(cl.transforms.Encrypt(key_file, PERMUTATION))
    key_file.unlink()
    with pytest.raises(KeyFailureError, match="cannot read"):
        pickle.loads(packed)(torch.from_numpy(PHOTOS))
    OTHER.save(key_file)
    with pytest.raises(KeyFailureError, match="wrong key"):
        pickle.loads(packed)(torch.from_numpy(PHOTOS))


def test_a_protected_key(tmp_path: Path) -> None:
    KEY.save(tmp_path / "locked.key", "some words")
    (tmp_path / "words").write_text("some words\n")
    with pytest.raises(KeyFailureError, match="passphrase"):
        cl.transforms.Encrypt(tmp_path / "locked.key", PERMUTATION)
    encrypt = cl.transforms.Encrypt(tmp_path / "locked.key", PERMUTATION, passphrase_file=tmp_path / "words")
    found = pickle.loads(pickle.dumps(encrypt))(torch.from_numpy(PHOTOS))
    assert np.array_equal(found.numpy(), bind(PERMUTATION).encrypt(PHOTOS))


def test_what_is_refused(key_file: Path) -> None:
    encrypt = cl.transforms.Encrypt(key_file, cl.create_cipher("hill", block=4))
    with pytest.raises(UsageError, match="key for every image"):
        cl.transforms.Encrypt(key_file, cl.create_cipher("negpos", per_image=True))
    with pytest.raises(UsageError, match="no cipher"):
        cl.transforms.Encrypt(key_file, "hill")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="mode RGBA"):
        encrypt(Image.new("RGBA", (32, 32)))
    with pytest.raises(ShapeError, match="cannot be cut"):
        encrypt(torch.zeros(3, 30, 30, dtype=torch.uint8))
    with pytest.raises(ShapeError, match=r"an image is \(C, H, W\)"):
        encrypt(torch.zeros(32, 32, dtype=torch.uint8))


def test_nothing_of_a_sample_goes_out_in_the_clear(key_file: Path) -> None:
    encrypt = cl.transforms.Encrypt(key_file, PERMUTATION)
    tensor, picture = torch.from_numpy(PHOTOS[0]), Image.fromarray(PHOTOS[0].transpose(1, 2, 0))
    boxes = tv_tensors.BoundingBoxes([[0, 0, 4, 4]], format="XYXY", canvas_size=(32, 32))
    for sample in (PHOTOS[0], (tensor, tensor), (tensor, picture), (picture, picture), {"a": [tensor, PHOTOS[0]]}):
        with pytest.raises(UsageError, match="is not clear"):
            encrypt(sample)
    with pytest.raises(UsageError, match="boxes"):
        encrypt(tv_tensors.Image(tensor), boxes)
    with pytest.raises(ShapeError, match="whole numbers"):
        encrypt(tv_tensors.Image(tensor), tv_tensors.Mask(torch.zeros(32, 32)))
    empty = tv_tensors.Mask(torch.zeros(0, 32, 32, dtype=torch.uint8))
    assert encrypt(tv_tensors.Image(tensor), empty)[1].shape == (0, 32, 32)


def test_ciphertexts_of_another_shape(key_file: Path) -> None:
    cipher = cl.create_cipher("stream")
    ct = cl.transforms.Encrypt(key_file, cipher)(torch.from_numpy(PHOTOS))
    with pytest.raises(ShapeError, match="another shape"):
        cl.transforms.Decrypt(key_file, cipher)(ct)
    found = cl.transforms.Decrypt(key_file, cipher, shape=(3, 32, 32))(ct)
    assert np.array_equal(found.numpy(), PHOTOS)


TRAP = """
import torch
import cipherlens as cl
{module}

class Photos(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        {item}
        return KEY.fingerprint

if __name__ == "__main__":
    loader = torch.utils.data.DataLoader(Photos(), 1, num_workers=2, multiprocessing_context="{context}")
    print({{name for batch in loader for name in batch}})
"""
TRAPS = [
    ("spawn", "KEY = cl.Key.generate()", "pass"),
    ("spawn", "", "KEY = cl.Key.generate()"),
    ("fork", "", "KEY = cl.Key.generate()"),
]


def run(program: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(("context", "module", "item"), TRAPS)
def test_a_worker_makes_no_key_of_its_own(context: str, module: str, item: str, tmp_path: Path) -> None:
    """Two workers once encrypted with two keys, and nobody was told."""
    (tmp_path / "program.py").write_text(TRAP.format(context=context, module=module, item=item))
    done = run(tmp_path / "program.py")
    assert done.returncode and "make a key of its own" in done.stderr


OWN_WORKERS = """
import cipherlens as cl

KEY = cl.Key.generate()

if __name__ == "__main__":
    from cipherlens.data.sealed import job

    job.SHARD_BYTES = 20_000
    options = cl.SealOptions(workers=2)
    print(cl.seal("synthetic:tiny?n=40&test=20&size=16", "set", cl.create_cipher("hill"), KEY, options).images)
    cl.SealedDataset.open("set", KEY).verify()
"""


def test_our_own_workers_get_the_program_s_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "program.py").write_text(OWN_WORKERS)
    done = run(tmp_path / "program.py")
    assert done.returncode == 0 and "60" in done.stdout, done.stderr


def test_forked_workers_have_the_key_of_the_program(tmp_path: Path) -> None:
    program = TRAP.format(context="fork", module="KEY = cl.Key.generate()", item="pass")
    (tmp_path / "program.py").write_text(program)
    done = run(tmp_path / "program.py")
    assert done.returncode == 0 and done.stdout.count("'") == 2, done.stderr
