"""Rules that every cipher keeps, whoever wrote it."""

import pickle
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from cipherlens.ciphers import BoundCipher, Cipher, create_cipher
from cipherlens.ciphers.structure import KeyStructure, Kind, Layout, Shape
from cipherlens.errors import CipherlensError, KeyFailureError, ShapeError, UsageError
from cipherlens.keys import Key
from cipherlens.testing.report import require, run_checks

_KEY, _OTHER = Key(bytes(range(32))), Key(bytes(range(1, 33)))
_HALF_A_LEVEL = 0.5 / 255


def check_cipher(cipher: Cipher) -> None:
    """Check a cipher on small random images of one and three channels.

    Round trips, determinism, shapes and dtypes, independence of the images in a batch, wrong keys and shapes, no
    key in repr or pickle, the same from torch, and the declared structure. Raises CheckError at the first rule that
    it breaks.
    """
    for channels, (rows, columns) in product((1, 3), ((2, 2), (2, 3))):
        side = max(cipher.block, 8 if cipher.block == 1 else 1)
        shape = (channels, rows * side, columns * side)
        try:
            case = Case(cipher, shape, cipher.bind(_KEY, shape))
        except ShapeError as error:
            require(channels == 1, f"it cannot be bound to {shape}: {error}")
            continue  # some schemes need colours
        run_checks(CHECKS, case, cipher.name)


@dataclass(frozen=True)
class Case:
    """A cipher bound to one shape."""

    cipher: Cipher
    shape: Shape
    bound: BoundCipher

    @property
    def ids(self) -> list[str]:
        """Names of the images."""
        return [f"image/{number}" for number in range(len(self.plain))]

    @cached_property
    def plain(self) -> NDArray[np.uint8]:
        """Random images, a black one and a white one."""
        images = np.random.default_rng(0).integers(0, 256, (4, *self.shape), dtype=np.uint8)
        images[0], images[1] = 0, 255
        return images

    @property
    def structure(self) -> KeyStructure:
        """What the cipher declares."""
        return self.cipher.structure(self.shape)

    def encrypt(self, bound: BoundCipher | None = None) -> NDArray[np.generic]:
        """Ciphertexts of the images."""
        return np.asarray((bound or self.bound).encrypt(self.plain, self.ids))

    def other(self) -> BoundCipher:
        """The cipher under another key."""
        return self.cipher.bind(_OTHER, self.shape)


def check_description(case: Case) -> None:
    """Its name and parameters make it again, as a sealed data set does."""
    cipher = case.cipher
    require(cipher.summary and cipher.threat_note, "summary and threat_note say what it does, and what it does not")
    again = create_cipher(cipher.name, **cipher.params)
    require(again == cipher, f"create_cipher({cipher.name!r}, **params) is {again}, not {cipher}")
    require(
        pickle.loads(pickle.dumps(cipher)) == cipher, "it changes when pickled, so workers would use another one"
    )


def check_shapes(case: Case) -> None:
    """Ciphertexts have the declared shape and dtype, and the images are not changed."""
    before, ct = case.plain.copy(), case.encrypt()
    require(np.array_equal(before, case.plain), "encrypt changes the images it is given")
    expected = case.cipher.ct_shape(case.shape)
    require(ct.shape == (len(before), *expected), f"ciphertexts are {ct.shape[1:]}, ct_shape says {expected}")
    require(
        str(ct.dtype) == case.bound.ct_dtype, f"ciphertexts are {ct.dtype}, ct_dtype says {case.bound.ct_dtype}"
    )
    empty = case.bound.encrypt(case.plain[:0], [])
    require(empty.shape[0] == 0, "an empty batch does not stay empty")


def check_round_trip(case: Case) -> None:
    """Decrypted images are the originals; float ciphertexts may be off by less than half a grey level."""
    ct = case.encrypt()
    try:
        plain = np.asarray(case.bound.decrypt(ct, "uint8", case.ids))
    except UsageError:
        return  # it says that it cannot be decrypted
    require(np.array_equal(plain, case.plain), "decrypt(encrypt(x)) is not x")
    units = np.asarray(case.bound.decrypt(ct, "float32", case.ids))
    error = np.abs(units - case.plain.astype(np.float32) / 255).max()
    require(error < _HALF_A_LEVEL, f"decrypted float images are off by {error:.2g}")


def check_determinism(case: Case) -> None:
    """The key decides everything, unless every image is declared to have other randomness."""
    first, again = case.encrypt(), case.encrypt(case.cipher.bind(_KEY, case.shape))
    same = np.array_equal(first, again)
    if case.structure.kind is Kind.FRESH:
        require(not same, "it declares fresh randomness, but encrypts alike")
        return
    require(same, "the same key gives other ciphertexts")
    changed = not np.array_equal(first[2:], case.encrypt(case.other())[2:])
    require(changed or case.structure.kind is Kind.NOTHING, "another key gives the same ciphertexts")


def check_independence(case: Case) -> None:
    """An image's ciphertext does not depend on the others in the batch, nor on being in one."""
    if case.structure.kind is Kind.FRESH:
        return
    whole, ids = case.encrypt(), case.ids
    for images in (case.plain[2:3], case.plain[2]):
        alone = np.asarray(case.bound.encrypt(images, ids[2:3]))
        require(np.allclose(whole[2], alone, atol=1e-6), "an image encrypts differently in a batch than alone")


def check_wrong_key(case: Case) -> None:
    """Another key gives another image, or is refused."""
    if case.structure.kind is Kind.NOTHING:
        return
    try:
        plain = case.other().decrypt(case.encrypt(), "uint8", case.ids)
    except (KeyFailureError, UsageError):
        return
    require(not np.array_equal(plain[2:], case.plain[2:]), "another key decrypts the images")


def check_wrong_shape(case: Case) -> None:
    """Images of another shape are refused by one of our errors."""
    channels, height, width = case.shape
    for images in (np.zeros(shape, np.uint8) for shape in ((1, channels, height, 2 * width), (height, width))):
        try:
            case.bound.encrypt(images, ["0"])
        except CipherlensError:
            continue
        require(False, f"images {images.shape} are encrypted by a cipher bound to {case.shape}")


def check_secrecy(case: Case) -> None:
    """No key in what is printed or pickled."""
    shown, secret = repr(case.bound) + str(case.bound), _KEY.to_bytes()
    require(secret.hex() not in shown and repr(secret) not in shown, "the key is in the repr")
    try:
        pickle.dumps(case.bound)
    except TypeError:
        return
    require(False, "a bound cipher can be pickled, with its key")


def check_torch(case: Case) -> None:
    """The same from torch tensors, where torch is installed."""
    try:
        import torch
    except ImportError:
        return
    if case.structure.kind is Kind.FRESH:
        return
    try:
        ct = case.bound.encrypt(torch.from_numpy(case.plain), case.ids)
    except CipherlensError as error:
        require(False, f"it does not take torch tensors: {error}")
    require(np.allclose(ct.numpy(), case.encrypt(), atol=1e-5), "torch tensors encrypt to something else")


def check_structure(case: Case) -> None:
    """A declared rearrangement keeps the units of every group, up to inversions that it declares."""
    structure = case.structure
    require(isinstance(structure, KeyStructure), "structure(shape) is no KeyStructure")
    layout = structure.layout
    require(
        (structure.kind is Kind.REARRANGEMENT) == (layout is not None),
        "rearrangements, and no others, have a layout",
    )
    if structure.kind is Kind.NOTHING:
        require(np.array_equal(case.encrypt(), case.plain), "it declares that nothing happens, but something does")
    if layout is None:
        return
    known, seen = layout.split(case.plain), layout.split(case.encrypt().astype(np.uint8))
    require(
        np.array_equal(_fold(known, layout), _fold(seen, layout)), "values leave the groups of the declared layout"
    )
    if not layout.moves:
        stays = np.isin(known ^ seen, (0, layout.top)).all()
        require(stays, "values move, but the layout declares that they do not")


def _fold(units: NDArray[np.uint8], layout: Layout) -> NDArray[np.int64]:
    """Units of every group in order of size, up to inversion where the layout has any."""
    values = units.astype(np.int64)
    return np.sort(np.minimum(values, layout.top - values) if layout.inverts else values, axis=-1)


CHECKS = (
    *(check_description, check_shapes, check_round_trip, check_determinism, check_independence),
    *(check_wrong_key, check_wrong_shape, check_secrecy, check_torch, check_structure),
)
