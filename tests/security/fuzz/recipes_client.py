"""Command lines of a client with mutated inputs, and what all command lines are made from."""

from functools import cached_property
from random import Random
from typing import Any

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.seeds_images import make_images
from tests.security.fuzz.target import OPEN_SESAME, Case
from tests.security.fuzz.targets_images import mutate_image
from tests.security.fuzz.targets_journal import JournalTarget
from tests.security.fuzz.targets_keys import KeyTarget
from tests.security.fuzz.targets_runs import RunTarget
from tests.security.fuzz.targets_sealed import ManifestTarget, ShardTarget
from tests.security.fuzz.targets_tables import CifarTarget, ParquetTarget
from tests.security.fuzz.trees import FORMATS, Tree, below

CLIENT = str(FORMATS / "client.key")
PARTNERS = {"plain": "run-plain", "hill": "run-hill", "permutation": "run-locked"}
NO_SEED = 1_000_000_000
_NAMES = (
    *("cat", "dog", "\x1b[31mred", "\udcff\udcfe", "a\nb", "-x", "--key", " ", "é", "\u202e", "x" * 200, "%s{0}"),
    *("\x9b", "a\\b"),
    *("\u2028", "[bold]", "masks", "CON", "@x"),
)


class ClientRecipes:
    """Makes a command line and its files; the targets in process make the parts."""

    @cached_property
    def _key(self) -> KeyTarget:
        return KeyTarget()

    @cached_property
    def sets(self) -> tuple[Any, ...]:
        """Makers of mutated sealed data sets, of all kinds and of those that a run is for."""
        return ManifestTarget(), ShardTarget(), ManifestTarget(tuple(PARTNERS)), ShardTarget(tuple(PARTNERS))

    @cached_property
    def runs(self) -> RunTarget:
        return RunTarget()

    @cached_property
    def _tables(self) -> tuple[Any, ...]:
        return ParquetTarget(), CifarTarget()

    @cached_property
    def _journal(self) -> JournalTarget:
        return JournalTarget()

    def inspect(self, rng: Random) -> Case:
        maker, place = rng.choice(((self._key, "/key"), (self.sets[0], ""), (self.sets[1], ""), (self.runs, "")))
        return make_command(
            maker.make(rng, NO_SEED), "", ["inspect", "{root}" + place, *rng.choice(([], ["--json"]))]
        )

    def decrypt(self, rng: Random) -> Case:
        made = rng.choice(self.sets[:2]).make(rng, NO_SEED)
        arguments = ["decrypt", "{root}/set", "{root}/out", "--key", CLIENT]
        return make_command(made, "set", arguments, check="images", atomic=True)

    def decrypt_with_key(self, rng: Random) -> Case:
        made = self._key.make(rng, NO_SEED)
        passphrase: bytes = (made.facts["passphrase"] or "").encode()
        if rng.random() < 0.2:
            passphrase, note = mutate_bytes(rng, OPEN_SESAME.encode(), b"x")
            made.note = f"{made.note}, passphrase file {note}"
        arguments = ["decrypt", "{root}/set", "{root}/out", "--key", "{root}/k/key"]
        arguments += ["--passphrase-file", "{root}/passphrase"] if passphrase else []
        more = {**below("set", self.sets[0].trees["hill"]), "passphrase": passphrase}
        return make_command(made, "k", arguments, more, check="images", set="hill", atomic=True)

    def encrypt_folder(self, rng: Random) -> Case:
        tree, notes = {}, []
        for number in range(3):
            content, note = mutate_image(rng, make_images()) if number else (make_images()["PNG RGB"], "a photo")
            folder, name = (rng.choice(_NAMES[:2] if rng.random() < 0.7 else _NAMES) for _ in range(2))
            tree[f"photos/{folder}/{number}{name}{rng.choice(('.png', '.jpg', '.tif'))}"] = content
            notes.append(note)
        made = Case(tree, "; ".join(notes))
        return make_command(made, "", _encrypt(rng, "{root}/photos"), check="sealed")

    def encrypt_table(self, rng: Random) -> Case:
        made = rng.choice(self._tables).make(rng, NO_SEED)
        source = made.facts["spec"].replace("{root}", "{root}/s")
        return make_command(made, "s", _encrypt(rng, source), check="sealed")

    def resume(self, rng: Random) -> Case:
        source = "synthetic:objects?n=8&test=4&size=32"
        arguments = [
            "encrypt",
            source,
            "{root}/out",
            "--key",
            CLIENT,
            "--cipher",
            "hill",
            "--block",
            "4",
            "--workers",
            "1",
        ]
        return make_command(self._journal.make(rng, NO_SEED), "out", arguments, check="sealed", small_shards=True)


def make_command(made: Case, folder: str, arguments: list[str], more: Tree | None = None, **facts: Any) -> Case:
    """A mutated input below ``folder``, and the command that is given it."""
    tree = {**(below(folder, made.tree) if folder else made.tree), **(more or {})}
    facts = {**made.facts, "arguments": arguments, **facts}
    return Case(tree, f"{' '.join(arguments)} with {made.note}", facts, outside=made.outside)


def _encrypt(rng: Random, source: str) -> list[str]:
    options = rng.choice(
        ([], ["--on-error", "skip"], ["--on-error", "skip"], ["--dry-run", "--json"], ["--keep-names"])
    )
    cipher = rng.choice(("hill", "pixel-permutation", "stream", "etc"))
    return [
        "encrypt",
        source,
        "{root}/out",
        "--key",
        CLIENT,
        "--cipher",
        cipher,
        "--size",
        "16",
        "--workers",
        "1",
        *options,
    ]
