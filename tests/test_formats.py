"""Sealed sets, runs and keys that earlier versions made: still read, with the same results."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed import job
from cipherlens.data.sealed import seal as sealing
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.shards import name_images
from cipherlens.data.sealed.unseal import decrypt_batch, unseal
from cipherlens.keys import Key

VERSIONS = sorted(path for path in (Path(__file__).parent / "formats").iterdir() if path.is_dir())
KEY = Key(bytes(range(32)))
WITH_KEYS = pytest.mark.parametrize("version", [v for v in VERSIONS if (v / "client.key").exists()], indirect=True)


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request):
    return request.param


@WITH_KEYS
def test_key_files(version):
    passphrase = (version / "passphrase.txt").read_text().strip()
    assert Key.load(version / "client.key") == KEY
    assert Key.load(version / "locked.key", passphrase) == KEY


@WITH_KEYS
def test_key_files_whose_comments_made_them_unreadable(version):
    """keygen accepted these comments and its own reader did not: the key was lost."""
    passphrase = (version / "passphrase.txt").read_text().strip()
    assert Key.load(version / "odd-comment.key", passphrase) == KEY
    assert Key.load(version / "long-comment.key") == KEY


def test_sealed_sets_decrypt_to_the_same_pixels_and_labels(version, tmp_path):
    expected = json.loads((version / "expected.json").read_text())["sets"]
    for name, digest in expected.items():
        dataset = SealedDataset.open(version / name, KEY)
        bound, found = dataset.spec.bind(KEY), hashlib.sha256()
        for split in dataset.splits:
            images = dataset.split(split)
            names = name_images(dataset.spec.id, split, images.index.tolist())
            plain = decrypt_batch(dataset.spec, bound, images.read_all(), names)
            found.update(np.ascontiguousarray(plain).tobytes())
            found.update(images.labels.astype("<i8").tobytes())
        assert found.hexdigest() == digest, name
        assert unseal(version / name, tmp_path / name, KEY) == sum(dataset.splits.values())


def test_runs_give_the_same_logits(version):
    import torch

    from cipherlens.training.run.load import load_run

    for name, expected in json.loads((version / "expected.json").read_text())["runs"].items():
        dataset = SealedDataset.open(version / expected["sealed"], KEY)
        bound = dataset.spec.bind(KEY) if name == "run-locked" else None
        run = replace(load_run(version / name, "last", bound), precision="float32")
        with torch.inference_mode():
            logits = run.forward(torch.from_numpy(dataset.split("test").read_all())).numpy()
        np.testing.assert_allclose(logits, expected["logits"], rtol=1e-3)


def test_an_interrupted_job_is_continued(version, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "SHARD_BYTES", 20_000)
    shutil.copytree(version / "interrupted", tmp_path / "sealed")
    call = ("synthetic:objects?n=8&test=4&size=32", tmp_path / "sealed", create_cipher("hill", block=4), KEY)
    report = sealing.seal(*call, SealOptions())
    assert (report.images, report.reused) == (12, 1)
    again = sealing.seal(*call, SealOptions())
    assert again.reused == again.shards
    fresh = tmp_path / "fresh"
    sealing.seal(call[0], fresh, *call[2:], SealOptions())
    kept = {shard.name: shard.read_bytes() for shard in (version / "interrupted" / "shards").iterdir()}
    for shard in sorted((fresh / "shards").iterdir()):
        continued = (tmp_path / "sealed" / "shards" / shard.name).read_bytes()
        assert continued == kept.get(shard.name, shard.read_bytes())
    # Processors round products differently: the shard of before and a fresh one are equal up to that.
    sets = [SealedDataset.open(root, KEY) for root in (tmp_path / "sealed", fresh)]
    for split in sets[0].splits:
        before, now = (one.split(split).read_all() for one in sets)
        np.testing.assert_allclose(before, now, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(
            *(decrypt_batch(one.spec, one.spec.bind(KEY), ct) for one, ct in zip(sets, (before, now), strict=True))
        )


def test_both_format_versions_are_here():
    manifests = [json.loads((version / "hill" / "manifest.json").read_text()) for version in VERSIONS]
    assert sorted(manifest["version"] for manifest in manifests) == [1, 2]
