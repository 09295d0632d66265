"""Maps that attacks write: altered files are refused, or give a map that has the shape it says."""

from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_tensors import mutate_tensors
from tests.security.fuzz.outcome import Misbehaved
from tests.security.fuzz.target import Case, Target
from tests.security.fuzz.trees import replace_node

NAME = "map.safetensors"


class MapTarget(Target):
    """``EstimatedInverse.load``, ``apply`` and ``inspect``. Nothing protects a map: another one may be accepted."""

    name, share = "map", 4

    def __init__(self) -> None:
        self._seeds = self._make_seeds()
        self.seeds_kept = len(self._seeds)

    def _make_seeds(self) -> list[bytes]:
        import tempfile

        from cipherlens.ciphers import create_cipher
        from cipherlens.ciphers.estimated_inverse import Target as Images
        from cipherlens.ciphers.exact_inverse import invert

        seeds = []
        with tempfile.TemporaryDirectory() as folder:
            for block in (2, 4):
                path = Path(folder) / f"{block}.safetensors"
                bound = create_cipher("hill", block=block).bind(self.key, (3, 8, 8))
                invert(bound).save(path, Images("hill", {"block": block}, self.key.fingerprint))
                seeds.append(path.read_bytes())
        return seeds

    def make(self, rng: Random, number: int) -> Case:
        if number < len(self._seeds):
            return Case({NAME: self._seeds[number]}, "a map", untouched=True)
        whole, other = rng.sample(self._seeds, 2)
        kind = rng.random()
        if kind < 0.02:
            tree, note = replace_node(rng, {NAME: whole}, NAME)
            return Case(tree, note, outside=whole)
        content, note = mutate_bytes(rng, whole, other) if kind < 0.5 else mutate_tensors(rng, whole)
        return Case({NAME: content}, note, outside=whole)

    def use(self, case: Case, root: Path) -> None:
        from cipherlens.ciphers.estimated_inverse import EstimatedInverse
        from cipherlens.cli.commands.owner.inspect import describe
        from cipherlens.errors import DataError

        path = root / NAME
        with suppress(DataError):
            describe(path)
        found = EstimatedInverse.load(path, root)
        if np.prod(found.shape) > 1 << 20:
            return
        pictures: Any = found.apply(np.zeros((1, *found.shape), np.float32))
        if pictures.dtype != np.float32 or pictures.shape[0] != 1:
            raise Misbehaved(f"pictures of shape {pictures.shape} and dtype {pictures.dtype}")
