"""Images: pixels or DataError, without children and without much memory."""

import struct
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.security.fuzz.guard import DECODING
from tests.security.fuzz.mutate_bytes import BORDERS, mutate_bytes
from tests.security.fuzz.outcome import Misbehaved
from tests.security.fuzz.seeds_images import USUAL, make_bomb, make_chunk, make_images
from tests.security.fuzz.target import Case, Target
from tests.security.fuzz.trees import Link, replace_node

SUFFIXES = (".png", ".jpg", ".gif", ".tif", ".bmp", ".webp", ".eps", "")
_THIN = ((65_500, 1), (1, 65_500), (400_000, 2), (1, 1_000_000), (5_000_000, 1))
_LARGE = ((13_000, 13_000, 1), (9_000, 9_000, 4), (13_300, 13_300, 3), (30_000, 30_000, 1))
_SIZE = 16


def mutate_image(rng: Random, seeds: dict[str, bytes]) -> tuple[bytes, str]:
    """A changed image, of usual formats half of the time."""
    usual = [name for name in seeds if name.startswith(USUAL)]
    name = rng.choice(usual if rng.random() < 0.5 else list(seeds))
    kind = rng.random()
    if kind < 0.004:
        width, height = rng.choice(_THIN)
        return make_bomb(width, height, 3), f"a PNG of {width}x{height}"
    if kind < 0.0045:
        size = rng.choice(_LARGE)
        return make_bomb(*size), f"a PNG of {size}"
    if kind < 0.3 and name.startswith("PNG"):
        content, note = _mutate_chunks(rng, seeds[name])
    else:
        content, note = mutate_bytes(rng, seeds[name], seeds[rng.choice(list(seeds))])
    return content, f"{name}: {note}"


def _mutate_chunks(rng: Random, content: bytes) -> tuple[bytes, str]:
    """Change what is in a PNG's chunks, and make their checksums right again."""
    chunks, at = [], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    at, done = (
        rng.randrange(len(chunks)),
        rng.choice(("content", "content", "order", "kind", "double", "text", "pixels")),
    )
    kind, inside = chunks[at]
    if done == "content":
        chunks[at] = kind, mutate_bytes(rng, inside)[0]
    elif done == "order":
        rng.shuffle(chunks)
    elif done == "kind":
        chunks[at] = (
            rng.choice(
                (b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"fdAT", b"fcTL", b"eXIf", b"\0\0\0\0")
            ),
            inside,
        )
    elif done == "double":
        chunks.insert(at, chunks[at])
    elif done == "text":
        chunks.insert(1, (b"zTXt", b"Comment\0\0" + zlib.compress(bytes(rng.choice((100, 5_000_000))))))
    elif len(chunks[0][1]) >= 13:
        sides = struct.pack(
            ">II", *(rng.choice((*BORDERS[:12], 20, 24, 10**4, 10**6)) & 0xFFFFFFFF for _ in range(2))
        )
        chunks[0] = (
            chunks[0][0],
            sides + bytes([rng.choice((1, 2, 4, 8, 16, 3)), rng.randrange(8)]) + chunks[0][1][10:],
        )
    return content[:8] + b"".join(make_chunk(*chunk) for chunk in chunks), f"chunks: {done}"


class ImageTarget(Target):
    """``Item.decode`` through ``Preprocess(size=16)``, from bytes and from files."""

    name, share, codes = "image", 30, frozenset({4})
    growth = DECODING

    def __init__(self) -> None:
        self._seeds = make_images()
        self._must = [
            name for name in self._seeds if name in {f"{kind} {mode}" for kind in USUAL for mode in ("RGB", "L")}
        ]
        self.seeds_kept = len(self._must)

    def make(self, rng: Random, number: int) -> Case:
        if number < len(self._must):
            name = self._must[number]
            return Case({"image": self._seeds[name]}, name, {"file": None}, untouched=True)
        content, note = mutate_image(rng, self._seeds)
        file = f"image{rng.choice(SUFFIXES)}" if rng.random() < 0.3 else None
        tree: Any = {file or "image": content}
        if file and rng.random() < 0.02:
            tree, note = replace_node(rng, tree, file)
            # What a folder source lists are files, and links to files.
            file = file if isinstance(tree.get(file, b""), bytes | Link) else None
        return Case(tree if file else {"image": content}, f"{note} as {file}", {"file": file}, outside=content)

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.data.images import Item, Preprocess

        file = case.facts["file"]
        content = root / file if file else case.tree["image"]
        pixels = Preprocess(size=_SIZE).apply(Item("image", -1, content))
        check_pixels(pixels)


def check_pixels(pixels: Any) -> None:
    """A decoded image is what a cipher takes."""
    if not isinstance(pixels, np.ndarray) or pixels.shape != (3, _SIZE, _SIZE) or pixels.dtype != np.uint8:
        raise Misbehaved("an image was decoded to something that no cipher takes")
