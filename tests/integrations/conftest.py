"""Runs of each kind, trained once."""

from pathlib import Path

import pytest

import cipherlens as cl

KEY = cl.Key(bytes(range(32)))
SOURCE = "synthetic:tiny?n=40&test=20&size=32"
HILL = cl.create_cipher("hill", block=4)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of each kind: on ciphertexts, plain, locked, folded, read first."""
    from cipherlens.ciphers.estimated_inverse import Target
    from cipherlens.ciphers.exact_inverse import invert
    from cipherlens.training.keyed_runs.fold import fold_run
    from cipherlens.training.keyed_runs.lock import lock_run

    root = tmp_path_factory.mktemp("runs")
    for name, cipher in (("plain", cl.create_cipher("identity")), ("hill-set", HILL)):
        cl.seal(SOURCE, root / name, cipher, KEY)
    invert(HILL.bind(KEY, (3, 32, 32))).save(root / "map.safetensors", Target("hill", HILL.params, KEY.fingerprint))
    small = {"epochs": 1, "threads": 1, "precision": "float32"}
    cl.train(root / "plain", cl.TrainConfig(model="preresnet20", **small), out=root / "run-plain")
    cl.train(root / "hill-set", cl.TrainConfig(model="preresnet20", **small), out=root / "run")
    embedding = cl.TrainConfig(model="convnext_atto", optimizer="adamw", **small)
    cl.train(root / "plain", embedding, out=root / "run-embedding")
    fold_run(root / "run-embedding", root / "run-folded", cl.SealedDataset.open(root / "hill-set"), KEY)
    lock_run(root / "run-plain", root / "run-locked", KEY, "shuffled")
    read = cl.TrainConfig(model="preresnet20", adapt_block=4, inverse=str(root / "map.safetensors"), **small)
    cl.train(root / "hill-set", read, out=root / "run-reading")
    return root
