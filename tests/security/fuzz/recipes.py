"""Command lines with mutated inputs: what is asked of which files."""

import io
import json
from collections.abc import Callable
from random import Random

import numpy as np

from tests.security.fuzz.mutate_bytes import mutate_bytes
from tests.security.fuzz.mutate_json import mutate_json, to_text
from tests.security.fuzz.mutate_tensors import mutate_tensors
from tests.security.fuzz.recipes_client import CLIENT, NO_SEED, PARTNERS, ClientRecipes, make_command
from tests.security.fuzz.seeds_images import make_images
from tests.security.fuzz.target import PHOTOS, Case
from tests.security.fuzz.targets_images import mutate_image
from tests.security.fuzz.trees import FORMATS, read_tree


class Recipes(ClientRecipes):
    """Those of a client, and of somebody who trains, uses and attacks models."""

    def test(self, rng: Random) -> Case:
        if rng.random() < 0.5:
            made = rng.choice(self.sets[2:]).make(rng, NO_SEED)
            run = PARTNERS[made.facts["set"]]
            return make_command(made, "set", ["test", str(FORMATS / run), "{root}/set", *_lock_key(run)])
        made, run = self._mutated_run(rng)
        sealed = _find_partner(run)
        return make_command(made, "run", ["test", "{root}/run", str(FORMATS / sealed), *_lock_key(run)])

    def predict(self, rng: Random) -> Case:
        kind = rng.random()
        if kind < 0.5:
            made, _ = self._mutated_run(rng)
            return make_command(
                made, "run", ["predict", "{root}/run", str(PHOTOS / "test/cat/00.png"), "--key", CLIENT]
            )
        if kind < 0.75:
            content, note = mutate_image(rng, make_images())
            made = Case({"image.png": content}, note)
            return make_command(
                made, "", ["predict", str(FORMATS / "run-hill"), "{root}/image.png", "--key", CLIENT]
            )
        made = Case({"ct.npy": _mutate_array(rng)}, "a ciphertext")
        return make_command(made, "", ["predict", str(FORMATS / "run-hill"), "{root}/ct.npy", "--json"])

    def lock(self, rng: Random) -> Case:
        made, _ = self._mutated_run(rng)
        return make_command(
            made, "run", ["lock", "{root}/run", "--key", CLIENT, "--out", "{root}/out"], atomic=True
        )

    def train(self, rng: Random) -> Case:
        """Go on with a run whose checkpoint was changed."""
        run, tree = "run-plain", read_tree(FORMATS / "run-plain")
        path = rng.choice([name for name in tree if name.startswith("checkpoint") or name == "metrics.jsonl"])
        whole = tree[path]
        assert isinstance(whole, bytes)
        if path.endswith(".safetensors"):
            tree[path], note = mutate_tensors(rng, whole)
        else:
            value, note = mutate_json(rng, json.loads(whole))
            tree[path] = to_text(rng, value).encode()
        stored = json.loads((FORMATS / run / "config.json").read_text())["config"]
        options = [
            f"--{name.replace('_', '-')}={stored[name]}"
            for name in ("model", "epochs", "batch_size", "threads", "seed")
        ]
        return make_command(
            Case(tree, f"{path}: {note}"), "run", ["train", str(FORMATS / "plain"), "--out", "{root}/run", *options]
        )

    def attack(self, rng: Random) -> Case:
        made = self.sets[2 + (rng.random() < 0.7)].make(rng, NO_SEED)
        return make_command(
            made,
            "set",
            ["attack", _pick_attack(made.facts["set"]), "{root}/set", "--plain", str(PHOTOS), "--budget", "4"],
        )

    def audit(self, rng: Random) -> Case:
        made, run = self._mutated_run(rng)
        sealed = _find_partner(run)
        options = [
            "--plain",
            str(PHOTOS),
            "--out",
            "{root}/out",
            "--attacks",
            _pick_attack(sealed),
            "--workers",
            "1",
        ]
        arguments = ["audit", str(FORMATS / sealed), *options, "--minutes", "0.1", "--run", "{root}/run"]
        return make_command(
            made, "run", arguments, children=True
        )  # a report names the commit, which git is asked for

    def _mutated_run(self, rng: Random) -> tuple[Case, str]:
        made = self.runs.make(rng, NO_SEED)
        return made, made.note.partition(" ")[0]


def _pick_attack(sealed: str) -> str:
    """One that applies to the set's cipher."""
    return "correlation" if sealed == "permutation" else "covariance"


def _find_partner(run: str) -> str:
    """The sealed set that a run is asked about; for one of several owners the first of these."""
    return next((name for name, partner in PARTNERS.items() if partner == run), "hill")


def _lock_key(run: str) -> list[str]:
    return ["--key", CLIENT] if run == "run-locked" else []


def _mutate_array(rng: Random) -> bytes:
    file, shape = io.BytesIO(), rng.choice(((3, 16, 16), (1, 3, 16, 16), (16, 16, 3), (), (0,), (3, 16, 0)))
    np.save(
        file, np.zeros(shape, rng.choice(("f4", "u1", "f8", "O", "U3", "M8[s]", "f4,f4", "c8"))), allow_pickle=True
    )
    content = file.getvalue()
    return mutate_bytes(rng, content, content)[0] if rng.random() < 0.7 else content


RECIPES: dict[str, tuple[int, Callable[[Recipes, Random], Case]]] = {
    **{
        "inspect": (25, Recipes.inspect),
        "decrypt": (14, Recipes.decrypt),
        "decrypt-key": (6, Recipes.decrypt_with_key),
    },
    **{
        "encrypt": (16, Recipes.encrypt_folder),
        "encrypt-table": (6, Recipes.encrypt_table),
        "resume": (4, Recipes.resume),
    },
    **{
        "test": (8, Recipes.test),
        "predict": (11, Recipes.predict),
        "lock": (6, Recipes.lock),
        "train": (2, Recipes.train),
    },
    **{"attack": (1, Recipes.attack), "audit": (1, Recipes.audit)},
}
"""How often, and how."""
