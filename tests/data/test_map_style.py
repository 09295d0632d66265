"""A split as PyTorch's users take it: a map-style data set, in workers too, pickled by its path."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from cipherlens.ciphers import create_cipher
from cipherlens.data.sealed import job, shard_files
from cipherlens.data.sealed.dataset import SealedDataset, SealedSplit
from cipherlens.data.sealed.seal import seal
from cipherlens.errors import DataError
from cipherlens.keys import Key

KEY = Key(bytes(range(32)))


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """300 images in shards of some twenty."""
    monkeypatch.setattr(job, "SHARD_BYTES", 60_000)
    seal("synthetic:tiny?n=300&test=20&size=16", tmp_path / "set", create_cipher("hill", block=4), KEY)
    return tmp_path / "set"


@pytest.fixture
def split(root: Path) -> SealedSplit:
    return SealedDataset.open(root).split("train")


def test_items_are_what_read_gives(split: SealedSplit) -> None:
    images = split.read_all()
    for index in (0, 7, 299, -1, np.int64(5)):
        image, label = split[index]
        assert np.array_equal(image, images[index]) and label == split.labels[index]
        assert image.shape == split.shape and isinstance(label, int)
    batch = split.__getitems__([299, 0, 5, 5])
    assert [label for _, label in batch] == split.labels[[299, 0, 5, 5]].tolist()
    assert np.array_equal([image for image, _ in batch], images[[299, 0, 5, 5]])
    assert len(list(split)) == len(split) == 300
    for wrong in (300, -301):
        with pytest.raises(IndexError):
            split[wrong]
    for never in ("a", 1.5, slice(2)):
        with pytest.raises(TypeError):
            split[never]  # type: ignore[index]


def test_masks_are_targets(tmp_path: Path) -> None:
    source = "synthetic:objects?n=9&test=3&size=16&masks=1"
    seal(source, tmp_path / "set", create_cipher("pixel-permutation"), KEY)
    split = SealedDataset.open(tmp_path / "set").split("train")
    image, mask = split[4]
    assert image.shape == (3, 16, 16) and split.masks is not None and np.array_equal(mask, split.masks[4])


def test_it_is_pickled_by_its_path(split: SealedSplit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(pickle.dumps(split)) < 20_000 < split.read_all().nbytes
    monkeypatch.chdir(tmp_path)
    relative = SealedDataset.open("set").split("train")
    packed = pickle.dumps(relative)
    monkeypatch.chdir("/")
    assert np.array_equal(pickle.loads(packed).read_all(), split.read_all())


def test_hashes_are_compared_again_only_of_changed_files(
    split: SealedSplit, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, compared = pickle.dumps(split), []
    hashing = shard_files.hashlib.sha256
    monkeypatch.setattr(shard_files.hashlib, "sha256", lambda data: compared.append(1) or hashing(data))
    pickle.loads(packed)
    assert not compared
    path = root / "shards" / split.dataset.list_shards("train")[3].file
    shutil.copy(path, root / "copy")
    (root / "copy").rename(path)
    assert np.array_equal(pickle.loads(packed).read_all(), split.read_all()) and len(compared) == 1
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match="damaged"):
        pickle.loads(packed)


@pytest.mark.parametrize(("context", "workers"), [(None, 0), ("fork", 2), ("spawn", 2)])
def test_a_data_loader_gives_every_image_once(split: SealedSplit, context: str | None, workers: int) -> None:
    torch = pytest.importorskip("torch")
    loader = torch.utils.data.DataLoader(
        split, batch_size=64, shuffle=True, num_workers=workers, multiprocessing_context=context
    )
    batches = list(loader)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64 and len(batches) == 5
    found = sorted(zip(images.numpy().reshape(300, -1).tolist(), labels.tolist(), strict=True))
    wanted = sorted(zip(split.read_all().reshape(300, -1).tolist(), split.labels.tolist(), strict=True))
    assert found == wanted


def test_a_distributed_sampler_parts_it(split: SealedSplit) -> None:
    torch = pytest.importorskip("torch")
    samplers = [torch.utils.data.DistributedSampler(split, 2, rank, shuffle=True, seed=3) for rank in range(2)]
    chosen = [set(sampler) for sampler in samplers]
    assert not chosen[0] & chosen[1] and len(chosen[0] | chosen[1]) == 300
    loaders = [torch.utils.data.DataLoader(split, batch_size=50, sampler=sampler) for sampler in samplers]
    assert sum(len(labels) for loader in loaders for _, labels in loader) == 300


def test_workers_map_the_files_and_do_not_copy_them(split: SealedSplit) -> None:
    again = pickle.loads(pickle.dumps(split))
    assert all(is_mapped(again._load(number)["images"]) for number in range(len(again._shards)))
    assert again.dataset.root.samefile(split.dataset.root)


def is_mapped(array: np.ndarray | None) -> bool:
    return array is not None and (isinstance(array, np.memmap) or is_mapped(array.base))
