"""Encryption and decryption as torchvision v2 transforms: ``cl.transforms.Encrypt`` and ``Decrypt``.

They are made from a key file and a cipher, and pickled as such. Workers read the key for themselves, and notice
where the file holds another one by then. No key, and nothing drawn from one, is pickled.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from cipherlens.ciphers import BoundCipher, Cipher
from cipherlens.ciphers.structure import Shape
from cipherlens.data.sealed.job import moves_masks
from cipherlens.data.sealed.shards import decrypt_masks, encrypt_masks
from cipherlens.data.sealed.spec import check_fingerprint
from cipherlens.errors import ShapeError, UsageError
from cipherlens.keys import Key
from cipherlens.keys.passphrase import read_passphrase

KeyFile = str | os.PathLike[str]
_PIL_MODES = ("L", "RGB")
_PLACES = tuple(getattr(tv_tensors, name) for name in ("BoundingBoxes", "KeyPoints") if hasattr(tv_tensors, name))


class _Keyed(v2.Transform):  # type: ignore[misc]  # torchvision is not typed
    """What both transforms share: the cipher, bound to a shape of images when the first of them comes."""

    def __init__(self, key_file: KeyFile, cipher: Cipher, *, passphrase_file: KeyFile | None = None) -> None:
        super().__init__()
        if not isinstance(cipher, Cipher):
            raise UsageError(f"{cipher!r} is no cipher", hint="make one with cl.create_cipher(name)")
        if cipher.per_image:
            raise UsageError(
                f"{cipher.name} with a key for every image needs the images' ids, which a transform does not have",
                hint="seal the data set with cl.seal, or take one key for all images",
            )
        self.cipher = cipher
        self._key_file = Path(key_file).absolute()
        self._passphrase_file = None if passphrase_file is None else Path(passphrase_file).absolute()
        self._bound: dict[Shape, BoundCipher] = {}
        self.fingerprint = self._load().fingerprint

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Raise UsageError for a sample of which a part would stay as it is: it would go out in the clear."""
        plain = [item for item in flat_inputs if type(item) is Tensor and item.ndim >= 3]
        pictures = [item for item in flat_inputs if isinstance(item, Image.Image)]
        named = [item for item in flat_inputs if isinstance(item, tv_tensors.Image | tv_tensors.Video)]
        arrays = [item for item in flat_inputs if isinstance(item, np.ndarray) and item.ndim >= 2]
        if arrays or len(plain) > 1 or len(pictures) > 1 or (plain and (named or pictures)):
            raise UsageError(
                "which of these are images, and which are masks, is not clear",
                hint="pass one image, or wrap each as tv_tensors.Image or tv_tensors.Mask",
            )
        if any(isinstance(item, _PLACES) for item in flat_inputs):
            raise UsageError("boxes and points are not encrypted", hint="encrypt the image alone")

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The channels of the sample's image, which its masks move with."""
        kinds = (Image.Image, tv_tensors.Image, tv_tensors.Video)
        images = [item for item in flat_inputs if isinstance(item, kinds) or type(item) is Tensor]
        return {"channels": _count_channels(images[0]) if images else 3}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Called by torchvision for each image and mask of a sample; what is neither stays as it is."""
        if isinstance(inpt, tv_tensors.Mask):
            return self._change_mask(inpt, params["channels"])
        if isinstance(inpt, Image.Image):
            return tv_tensors.Image(self._change(_to_tensor(inpt)))
        if isinstance(inpt, tv_tensors.Image | tv_tensors.Video):
            return tv_tensors.wrap(self._change(inpt.as_subclass(Tensor)), like=inpt)
        return self._change(inpt) if type(inpt) is Tensor else inpt

    def extra_repr(self) -> str:
        """Shown by ``repr``: cipher and fingerprint."""
        return f"{self.cipher!r}, key {self.fingerprint}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_bound": {}}

    def _load(self) -> Key:
        return Key.load(self._key_file, read_passphrase(self._passphrase_file))

    def _bind(self, shape: Shape) -> BoundCipher:
        if shape not in self._bound:
            key = self._load()
            check_fingerprint(self.fingerprint, key)
            self._bound[shape] = self.cipher.bind(key, shape)
        return self._bound[shape]

    def _change_mask(self, mask: tv_tensors.Mask, channels: int) -> tv_tensors.Mask:
        shape = (channels, int(mask.shape[-2]), int(mask.shape[-1]))
        if not moves_masks(self.cipher.structure(shape)):
            raise UsageError(
                f"{self.cipher.name} does more than move pixels, so a mask cannot follow",
                hint="choose pixel-permutation, or encrypt the image alone",
            )
        if not mask.numel():
            return mask
        if mask.is_floating_point():
            raise ShapeError("a mask has whole numbers", hint="pass classes, as in mask.long()")
        if mask.min() < 0 or mask.max() > 255:
            raise ShapeError("a mask has classes 0 to 254, and 255 where there is none")
        flat = mask.as_subclass(Tensor).reshape(-1, *shape[1:]).to(torch.uint8).cpu().numpy()
        moved = torch.from_numpy(self._move(self._bind(shape), flat)).to(mask.device, mask.dtype)
        return tv_tensors.Mask(moved.reshape(mask.shape))

    def _change(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def _move(self, bound: BoundCipher, masks: Any) -> Any:
        raise NotImplementedError


class Encrypt(_Keyed):
    """Encrypt images, and masks with them where the cipher only moves pixels.

    Takes PIL images (L or RGB), ``tv_tensors.Image``, and tensors (C, H, W) or (N, C, H, W), uint8 or, where the
    cipher takes them, floats in [0, 1]. The result is a tensor of the cipher's dtype, as ``tv_tensors.Image``
    unless a plain tensor came in. ``cipher`` comes from ``cl.create_cipher``. Raises UsageError for a key per
    image, KeyFailureError for a key file that cannot be read, or that holds another key than at first.
    """

    def _change(self, images: Tensor) -> Tensor:
        return self._bind(_shape(images)).encrypt(images)

    def _move(self, bound: BoundCipher, masks: Any) -> Any:
        return encrypt_masks(bound, masks)


class Decrypt(_Keyed):
    """Inverse of :class:`Encrypt`: ciphertexts to uint8 images.

    ``shape`` (C, H, W) is that of plain images, where ciphertexts have another one.
    """

    def __init__(
        self,
        key_file: KeyFile,
        cipher: Cipher,
        *,
        shape: Shape | None = None,
        passphrase_file: KeyFile | None = None,
    ) -> None:
        super().__init__(key_file, cipher, passphrase_file=passphrase_file)
        self.shape = shape

    def _change(self, images: Tensor) -> Tensor:
        shape = self.shape or _shape(images)
        if self.cipher.ct_shape(shape) != _shape(images):
            raise ShapeError(
                f"ciphertexts of {self.cipher.name} have another shape than images",
                hint="give the images' shape, as in Decrypt(key_file, cipher, shape=(3, 32, 32))",
            )
        return self._bind(shape).decrypt(images, "uint8")

    def _move(self, bound: BoundCipher, masks: Any) -> Any:
        return decrypt_masks(bound, masks)


def _count_channels(image: Image.Image | Tensor) -> int:
    return len(image.getbands()) if isinstance(image, Image.Image) else _shape(image)[0]


def _to_tensor(image: Image.Image) -> Tensor:
    if image.mode not in _PIL_MODES:
        raise ShapeError(
            f"a PIL image of mode {image.mode} is not taken", hint='convert it first: image.convert("RGB")'
        )
    found: Tensor = functional.pil_to_tensor(image)
    return found


def _shape(images: Tensor) -> Shape:
    if images.ndim < 3:
        raise ShapeError(f"an image is (C, H, W), not {tuple(images.shape)}", hint="pass (C, H, W) or (N, C, H, W)")
    channels, height, width = images.shape[-3:]
    return int(channels), int(height), int(width)
