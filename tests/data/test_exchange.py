"""Sealed sets in the formats of others, read by those others: what they read is what is sealed."""

import json
import stat
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import webdataset

import cipherlens as cl
from cipherlens.data.sealed import job
from tests.conftest import read_files

KEY = cl.Key(bytes(range(32)))
CASES = {
    "hill": ("synthetic:tiny?n=70&test=9&size=16", cl.create_cipher("hill", block=4)),
    "uint8": ("synthetic:tiny?n=70&test=9&size=16", cl.create_cipher("pixel-permutation")),
    "masks": ("synthetic:objects?n=70&test=9&size=16&masks=1", cl.create_cipher("pixel-permutation")),
}


@pytest.fixture(params=CASES)
def sealed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cl.SealedDataset:
    """79 images in shards of some twenty."""
    monkeypatch.setattr(job, "SHARD_BYTES", 60_000 if request.param == "hill" else 16_000)
    source, cipher = CASES[request.param]
    cl.seal(source, tmp_path / "set", cipher, KEY)
    return cl.SealedDataset.open(tmp_path / "set")


def check(found: Any, sealed: cl.SealedDataset, split: str) -> None:
    """Rows of ``datasets``, as NumPy arrays, against the split."""
    wanted, rows = sealed.split(split), found.with_format("numpy")[:]
    assert found.features["image"].dtype == wanted.dtype
    assert np.array_equal(rows["image"], wanted.read_all())  # whole numbers come as int64
    assert np.array_equal(rows["index"], wanted.index)
    if wanted.masks is None:
        assert np.array_equal(rows["label"], wanted.labels)
        assert tuple(found.features["label"].names) == wanted.classes
    else:
        assert np.array_equal(rows["mask"], wanted.masks) and "label" not in rows


def test_to_hugging_face(sealed: cl.SealedDataset) -> None:
    found = sealed.to_hf()
    assert {name: len(rows) for name, rows in found.items()} == sealed.splits == {"train": 70, "test": 9}
    for split in sealed.splits:
        check(found[split], sealed, split)
    batch = next(iter(torch.utils.data.DataLoader(found["train"].with_format("torch"), batch_size=5)))
    assert np.array_equal(batch["image"].numpy(), sealed.split("train").read(np.arange(5)))


def test_parquet(sealed: cl.SealedDataset, tmp_path: Path, call: Any) -> None:
    code, out, err = call("export-data", sealed.root, "--to", "parquet", "--out", tmp_path / "out", "--json")
    assert code == 0, err
    assert json.loads(out)["images"] == 79
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for split in sealed.splits:
        check(found[split], sealed, split)
    facts = json.loads((tmp_path / "out" / "cipherlens.json").read_text())
    assert facts["key_fingerprint"] == KEY.fingerprint and facts["who_may_hold_it"] == "provider"
    assert "provider" in (tmp_path / "out" / "README.md").read_text()


def test_webdataset(sealed: cl.SealedDataset, tmp_path: Path, call: Any) -> None:
    code, _, err = call("export-data", sealed.root, "--to", "webdataset", "--out", tmp_path / "out")
    assert code == 0, err
    archives = [str(path) for path in sorted((tmp_path / "out").glob("train-*.tar"))]
    assert len(archives) > 1
    wanted = sealed.split("train")
    target = "cls" if wanted.masks is None else "mask.npy"
    names = ("__key__", "npy", target)
    rows = list(webdataset.WebDataset(archives, shardshuffle=False).decode().to_tuple(*names))
    assert [key for key, _, _ in rows] == [f"train-{position:08d}" for position in wanted.index]
    assert np.array_equal([image for _, image, _ in rows], wanted.read_all())
    assert np.array_equal([row[2] for row in rows], wanted.labels if wanted.masks is None else wanted.masks)
    call("export-data", sealed.root, "--to", "webdataset", "--out", tmp_path / "again")
    assert read_files(tmp_path / "out") == read_files(tmp_path / "again")


def test_a_lone_split_is_train(tmp_path: Path) -> None:
    from tests.data.python_sets import Made

    cl.seal(Made(), tmp_path / "set", cl.create_cipher("hill", block=4), KEY, cl.SealOptions(hold_out=0))
    found = cl.SealedDataset.open(tmp_path / "set").to_hf()
    assert set(found) == {"train"}


def test_nothing_half_written_stays(sealed: cl.SealedDataset, tmp_path: Path, call: Any) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    assert call("export-data", sealed.root, "--out", tmp_path / "full")[0] == 2
    assert call("export-data", sealed.root, "--out", sealed.root / "inside")[0] == 2
    shard = sealed.root / "shards" / sealed.manifest.shards[1].file
    shard.write_bytes(shard.read_bytes()[:-1])
    code, _, err = call("export-data", sealed.root, "--out", tmp_path / "out")
    assert (code, shard.name in err, (tmp_path / "out").exists()) == (4, True, False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "set"]


def test_plain_images_stay_the_owners(tmp_path: Path, call: Any) -> None:
    cl.seal("synthetic:tiny?n=20&test=5&size=16", tmp_path / "set", cl.create_cipher("identity"), KEY)
    assert call("export-data", tmp_path / "set", "--out", tmp_path / "out")[0] == 0
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert json.loads((tmp_path / "out" / "cipherlens.json").read_text())["who_may_hold_it"] == "client only"
