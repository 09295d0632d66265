"""Estimated inverses of ciphers: results of attacks that decrypt further ciphertexts.

Whoever has such a file can decrypt. It is written like a key: readable by its owner only, never over another file.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from cipherlens.ciphers.blockmaps import Images, apply_maps, merge_halves, split_halves
from cipherlens.ciphers.structure import Shape
from cipherlens.errors import CipherlensError, DataError, KeyFailureError, ShapeError, UsageError
from cipherlens.holders import CLIENT, FIELD
from cipherlens.keys.keyfile import write_secret
from cipherlens.schema import Side, parse
from cipherlens.untrusted import describe, parse_json, read_untrusted

SUFFIX = ".safetensors"
_LIMIT = 1 << 30
"""Maximum bytes of a map's file. A limit on memory."""
_FORMAT = "cipherlens-inverse-1"
_RESTORE = "make it with: cipherlens attack NAME SEALED --save-map FILE, or with the key: cipherlens invert"


@dataclass(frozen=True)
class Target:
    """The images that a map reads: sealed with this cipher, these parameters and the key of this fingerprint."""

    cipher: str
    params: dict[str, Any]
    key_fingerprint: str

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Target":
        """Create it from the public facts of a sealed data set or a run."""
        cipher, fingerprint = (str(facts.get(name)) for name in ("cipher", "key_fingerprint"))
        return cls(cipher, dict(facts.get("params") or {}), fingerprint)


_KINDS: dict[str, type["EstimatedInverse"]] = {}
"""By the name in a file; each kind enters itself."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EstimatedInverse(ABC):
    """A map from ciphertexts to pictures, the same for all images under one key.

    ``shape`` (C, H, W) is that of the ciphertexts. The map holds no key, but it decrypts as a key does.
    """

    kind: ClassVar[str]
    shape: Shape
    target: Target | None = None

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            _KINDS[cls.kind] = cls

    def apply(self, ct: NDArray[Any]) -> Images:
        """Decrypt ciphertexts, uint8 or float: pictures (N, C, H, W) float32, nominally in [0, 1], not clipped.

        Raises ShapeError for ciphertexts of another shape.
        """
        if ct.ndim != 4 or tuple(ct.shape[1:]) != self.shape:
            raise ShapeError(
                f"ciphertexts of shape {ct.shape} given, the map is for (N, {', '.join(map(str, self.shape))})",
                hint="give ciphertexts of the data set that the map was found on",
            )
        return self._apply(ct.astype(np.float32) / np.float32(255) if ct.dtype == np.uint8 else ct)

    @abstractmethod
    def _apply(self, ct: NDArray[Any]) -> Images: ...

    @abstractmethod
    def _tensors(self) -> dict[str, NDArray[Any]]: ...

    def _facts(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    def save(self, path: Path, target: Target) -> None:
        """Write a safetensors file of mode 0600 that names its target. Raises UsageError if it exists."""
        if path.suffix != SUFFIX:
            raise UsageError(f"{path.name} does not end in {SUFFIX}", hint=f"write to {path.with_suffix(SUFFIX)}")
        facts = {"target": vars(target), "map": self._facts()}
        metadata = {"format": _FORMAT, "kind": self.kind, "facts": json.dumps(facts, sort_keys=True), FIELD: CLIENT}
        write_secret(path, _sort_header(save(self._tensors(), metadata=metadata)))

    @staticmethod
    def load(path: Path, folder: Path | None = None) -> "EstimatedInverse":
        """Read a file of :meth:`save`. Raises DataError for any other file, and for links below ``folder``."""
        try:
            content = read_untrusted(path, _LIMIT, folder)
            header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            facts, kind = parse_json(header["facts"]), _KINDS[header["kind"]]
            inverse = kind.parse(facts["map"], load(content))
            return replace(inverse, target=parse(facts["target"], Target))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, CipherlensError) as error:
            raise DataError(f"{path} holds no map: {describe(error)}", hint=_RESTORE) from None

    @classmethod
    @abstractmethod
    def parse(cls, facts: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Self:
        """Create it from the content of a file. Raises ValueError where that is inconsistent."""

    def require_target(self, wanted: Target) -> None:
        """Raise KeyFailureError, naming the difference, unless the map is for images sealed like ``wanted``."""
        if self.target is None:
            raise KeyFailureError("the map does not say what it is for", hint="save it with its target first")
        for name, word in (("cipher", "cipher"), ("params", "cipher with"), ("key_fingerprint", "key")):
            found, asked = getattr(self.target, name), getattr(wanted, name)
            if found != asked:
                raise KeyFailureError(
                    f"the map is for images sealed with {word} {found}, these were with {asked}",
                    hint="find it from ciphertexts of this data set",
                )


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockInverse(EstimatedInverse):
    """An affine map per block: y @ matrices + offsets (see ``apply_maps``).

    ``matrices`` (C, n, n) and ``offsets`` (C, n), n = block * block, map each channel alone. (1, C * n, C * n) and
    (1, C * n) map all channels of a block together. With ``halves``, the map acts on half bytes (2 C channels).
    """

    kind = "block"
    block: int
    matrices: NDArray[np.float64]
    offsets: NDArray[np.float64]
    halves: bool = False

    def _apply(self, ct: NDArray[Any]) -> Images:
        ct = split_halves(ct) if self.halves else ct
        images = apply_maps(ct, self.block, self.matrices, self.offsets)
        return merge_halves(images) if self.halves else images

    def to_affine(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix (C*n, C*n) and shift (C*n,): a block y in (channel, row, column) order is ``y @ matrix + shift``.

        Raises UsageError for a map of half bytes, which is not affine in the values.
        """
        if self.halves:
            raise UsageError("a map of half bytes is no affine map of the values", hint="use another scheme's map")
        count = self.matrices.shape[1]
        matrix = np.zeros((self.offsets.size, self.offsets.size))
        for channel, part in enumerate(self.matrices):
            place = slice(channel * count, (channel + 1) * count)
            matrix[place, place] = part
        return matrix, self.offsets.reshape(-1)

    def negate(self) -> "BlockInverse":
        """The map that gives the negatives of the pictures."""
        return replace(self, matrices=-self.matrices, offsets=1 - self.offsets)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        return {"matrices": self.matrices, "offsets": self.offsets}

    def _facts(self) -> dict[str, Any]:
        return {**super()._facts(), "block": self.block, "halves": self.halves}

    @classmethod
    def parse(cls, facts: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> "BlockInverse":
        """Create it from the content of a file. Raises ValueError where that is inconsistent."""
        told = parse(facts, _BlockFacts)
        channels, height, width = told.shape
        matrices, offsets = (tensors[name].astype(np.float64) for name in ("matrices", "offsets"))
        one = told.block**2
        together = one * channels * (2 if told.halves else 1)
        fits = matrices.shape in ((channels, one, one), (1, together, together))
        if not fits or offsets.shape != matrices.shape[:2] or height % told.block or width % told.block:
            raise ValueError(f"matrices {matrices.shape} for blocks of {told.block} in images {told.shape}")
        if not (np.isfinite(matrices).all() and np.isfinite(offsets).all()):
            raise ValueError("a map that is not finite")
        return cls(shape=told.shape, block=told.block, matrices=matrices, offsets=offsets, halves=told.halves)


@dataclass(frozen=True, eq=False, kw_only=True)
class PositionInverse(EstimatedInverse):
    """A permutation of pixels: pixel i of the picture (row-major) is pixel ``source[i]`` of the ciphertext.

    ``source`` (H * W,) is the same for all channels.
    """

    kind = "positions"
    source: NDArray[np.int64]

    def _apply(self, ct: NDArray[Any]) -> Images:
        flat = ct.reshape(*ct.shape[:2], -1)
        return np.asarray(flat[:, :, self.source].reshape(ct.shape), np.float32)

    def _tensors(self) -> dict[str, NDArray[Any]]:
        return {"source": self.source.astype(np.int64)}

    @classmethod
    def parse(cls, facts: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> "PositionInverse":
        """Create it from the content of a file. Raises ValueError where that is inconsistent."""
        shape, source = parse(facts, PositionFacts).shape, tensors["source"]
        if source.dtype != np.int64 or not np.array_equal(np.sort(source), np.arange(shape[1] * shape[2])):
            raise ValueError("positions that are no permutation")
        return cls(shape=shape, source=source)


@dataclass(frozen=True)
class PositionFacts:
    """What a file says of every map."""

    shape: tuple[Side, Side, Side]


@dataclass(frozen=True)
class _BlockFacts(PositionFacts):
    block: Side
    halves: bool


def _sort_header(content: bytes) -> bytes:
    """A safetensors file with a sorted header, so that equal maps give equal files."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[end:]


def shape_of(images: NDArray[Any]) -> Shape:
    """(C, H, W) of images (N, C, H, W)."""
    channels, height, width = images.shape[1:]
    return int(channels), int(height), int(width)
