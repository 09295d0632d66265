"""Sealed data sets as files of other tools: Parquet for ``datasets``, tar files for WebDataset."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cipherlens.data.partial import PRIVATE_FOLDER, move_into_place, partial_folder, require_empty
from cipherlens.data.sealed.dataset import SealedDataset
from cipherlens.data.sealed.spec import DatasetSpec
from cipherlens.data.sealed.tables import Tensors, describe_facts, make_table, name_split
from cipherlens.data.storage.url import Place, refuse_inside
from cipherlens.errors import unknown_name
from cipherlens.files import write_new
from cipherlens.holders import CLIENT

FACTS_FILE = "cipherlens.json"
"""The file that says how the images were encrypted, and who may hold them."""
_PUBLIC_FOLDER = 0o777  # the user's umask is applied


def export_data(
    sealed: str | Place,
    out: str | Path,
    to: Literal["parquet", "webdataset"] = "parquet",
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the ciphertexts, labels and masks of a sealed data set into the folder ``out``; one file per shard.

    Values stay as they are: arrays (C, H, W) of the ciphertexts' dtype, never recompressed pictures. Parquet files
    are read by ``datasets.load_dataset(str(out))``. Tar files hold ``SPLIT-POSITION.npy``, ``.cls`` with the label,
    and ``.mask.npy``. ``cipherlens.json`` has the public facts. A lone split ``all`` is called ``train``.

    Returns the number of images. ``out`` appears when all is written. Raises DataError for a damaged data set,
    UsageError where ``out`` is not empty.
    """
    if to not in _WRITERS:
        raise unknown_name("format", to, _WRITERS)
    dataset, out = SealedDataset.open(sealed), Path(out)
    refuse_inside(out, dataset.root)
    require_empty(out)
    with partial_folder(out) as partial:
        folder = partial / "data"
        folder.mkdir(PRIVATE_FOLDER if dataset.spec.holder == CLIENT else _PUBLIC_FOLDER)
        count = _write_shards(dataset, folder, to, progress)
        splits = {name_split(split): count for split, count in dataset.splits.items() if count}
        facts = describe_facts(dataset.spec) | {"splits": splits, "format": to}
        write_new(folder / FACTS_FILE, json.dumps(facts, indent=1).encode())
        write_new(folder / "README.md", _write_card(dataset.spec, splits, to).encode())
        move_into_place(folder, out)
    return count


def _write_shards(
    dataset: SealedDataset, folder: Path, to: str, progress: Callable[[int, int], None] | None
) -> int:
    total, done = sum(dataset.splits.values()), 0
    write, suffix = _WRITERS[to]
    for split in dataset.splits:
        shards = [shard for shard in dataset.list_shards(split) if shard.n]
        for number, shard in enumerate(shards):
            name = f"{name_split(split)}-{number:05d}-of-{len(shards):05d}{suffix}"
            write(folder / name, dataset.load_shard(shard), dataset.spec, name_split(split))
            done += shard.n
            if progress:
                progress(done, total)
    return done


def _write_parquet(path: Path, tensors: Tensors, spec: DatasetSpec, split: str) -> None:
    pq.write_table(make_table(tensors, spec), path)


def _write_tar(path: Path, tensors: Tensors, spec: DatasetSpec, split: str) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number, position in enumerate(tensors["index"].tolist()):
            name = f"{split}-{position:08d}"
            _add(archive, f"{name}.npy", _encode(tensors["images"][number]))
            if spec.masked:
                _add(archive, f"{name}.mask.npy", _encode(tensors["masks"][number]))
            elif spec.classes:
                _add(archive, f"{name}.cls", str(tensors["labels"][number]).encode())


def _encode(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without time or owner, so that equal data give equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _write_card(spec: DatasetSpec, splits: dict[str, int], to: str) -> str:
    """A data card: which files belong to which split, and what may be said of the images."""
    suffix = _WRITERS[to][1]
    files = "".join(f"  - split: {split}\n    path: {split}-*{suffix}\n" for split in splits)
    counts = ", ".join(f"{split} {count:,}" for split, count in splits.items())
    return (
        f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n\n# Images under a secret key\n\n"
        f"Ciphertexts of {spec.create_cipher()!r}, {spec.ct_dtype} {spec.ct_shape}: {counts}. Key fingerprint: "
        f"{spec.key_fingerprint}. Who may hold it: {spec.holder}.\n\nThese are numbers, not pictures: whoever "
        "resizes, crops or recompresses them makes them useless. The cipher is obfuscation, not encryption: "
        f"`cipherlens audit` measures what it gives away. All public facts are in `{FACTS_FILE}`.\n"
    )


_WRITERS: dict[str, tuple[Callable[[Path, Tensors, DatasetSpec, str], None], str]] = {
    "parquet": (_write_parquet, ".parquet"),
    "webdataset": (_write_tar, ".tar"),
}
