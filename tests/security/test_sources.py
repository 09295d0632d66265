"""Sources made by somebody else: Parquet files, CIFAR's pickles, folders, names. Whatever is wrong is bad data."""

import inspect
import io
import json
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cipherlens.data.sources.augmented import augment
from cipherlens.data.sources.folder import FolderSource
from cipherlens.data.sources.parquet.source import ParquetSource
from cipherlens.data.sources.registry import canonical_source, open_source
from cipherlens.data.sources.subsets import ClassSubset, HeldOut, parse_classes
from cipherlens.errors import DataError, UsageError
from tests.security.test_images import within

HUGE = 10**20


def check_names(classes):
    from cipherlens.data.sources.checks import check_class_names  # not there in older versions

    check_class_names(classes)


def check_labels(labels, classes, masked=False):
    from cipherlens.data.sources.checks import check_labels

    check_labels(np.array(labels, np.int64), classes, masked, "train")


PEAK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
from cipherlens.data.sources.registry import open_source
from cipherlens.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    source = open_source(sys.argv[1])
    items = source.read(next(iter(source.splits)), [0])
    print("read")
except DataError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before >> 10, error.args[0])
"""


def peak_until_refused(spec, seconds=100):
    """Megabytes that a process of its own used until it refused the source, and its reason."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PEAK, str(spec)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=seconds)
    megabytes, _, reason = done.stdout.strip().partition(" ")
    assert megabytes.isdecimal(), (done.returncode, done.stdout, done.stderr)
    return int(megabytes), reason


# Parquet


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": "x.png"}


def write_labelled(path, labels, names=("a", "b"), metadata=None, image=None):
    columns = {"image": image or [png()] * len(labels), "label": labels}
    if metadata is None:
        metadata = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names}}}})}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path)
    return str(path)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([0, 2], "label 2, there are 2 classes"),
        ([0, -1], "label -1, there are 2 classes"),
        ([0, None], "a label for each of its 2 rows"),
        ([0.0, 1.0], "of type double, not integers"),
        (["0", "1"], "of type string, not integers"),
        ([[0], [1]], "of type list<.*not integers"),
        (pa.array([0, 2**63], pa.uint64()), "not a readable Parquet file"),
        ([0, 10**18], "label 1000000000000000000, there are 2"),
    ],
)
def test_labels_are_numbers_of_classes(tmp_path, labels, reason):
    with pytest.raises(DataError, match=reason):
        open_source(write_labelled(tmp_path / "x.parquet", labels))


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([0, 10**9], "label 1,000,000,000, and at most 100,000"), ([0, -2], "label -2"), ([None, 0], "a label for")],
)
def test_labels_without_names_are_few(tmp_path, labels, reason):
    path = write_labelled(tmp_path / "x.parquet", labels, metadata={})
    with pytest.raises(DataError, match=reason):
        open_source(path)


@pytest.mark.parametrize(
    "names", [[1, 2], [None, "b"], "ab", {"0": "a"}, ["a", "a"], ["a", ""], ["a", "b\0"], ["a", ["b"]], 7]
)
def test_names_of_classes_are_text(tmp_path, names):
    with pytest.raises(DataError, match=r"class names|name of class|huggingface"):
        open_source(write_labelled(tmp_path / "x.parquet", [0, 1], names))


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "7", "null", '{"info": []}', '{"info": {"features": 3}}', "[" * 100_000, "9" * 5000, b"\xff\xfe"],
)
def test_broken_metadata_is_bad_data(tmp_path, text):
    path = write_labelled(tmp_path / "x.parquet", [0, 1], metadata={b"huggingface": text})
    with pytest.raises(DataError, match="huggingface"):
        open_source(path)


def test_metadata_without_names_counts_labels(tmp_path):
    """A guard: labels that are no classes of Hugging Face's held before."""
    text = json.dumps({"info": {"features": {"label": {"dtype": "int64", "_type": "Value"}}}})
    source = open_source(write_labelled(tmp_path / "x.parquet", [0, 2], metadata={"huggingface": text}))
    assert source.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    "metadata",
    [
        {"classes": '["a", 2]'},
        {"classes": '["a", "a"]'},
        {"classes": '["a", "b"]', "ignore_index": "[1]"},
        {"classes": '["a", "b"]', "ignore_index": "1.0"},
        {"classes": "[" * 100_000},
    ],
)
def test_broken_metadata_of_masks_is_bad_data(tmp_path, metadata):
    table = pa.table({"image": [png()], "mask": [png()]})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"class|ignore_index|JSON"):
        open_source(str(tmp_path))


def test_masks_are_labelled_by_their_own_classes(tmp_path):
    """Labels of other classes beside masks are not read."""
    table = pa.table({"image": [png()], "mask": [png()], "label": [700]})
    pq.write_table(table.replace_schema_metadata({"classes": '["a", "b"]'}), tmp_path / "x.parquet")
    source = open_source(str(tmp_path))
    assert (source.masked, source.read_labels("all").tolist(), source.read("all", [0])[0].label) == (True, [-1], -1)


@pytest.mark.parametrize("images", [[1, 2], ["a", "b"], [[b"a"], [b"b"]], [{"path": ""}] * 2, [{"bytes": ""}] * 2])
def test_images_are_bytes(tmp_path, images):
    path = write_labelled(tmp_path / "x.parquet", [0, 1], image=images)
    with pytest.raises(DataError, match=r"column 'image' holds .*, not encoded images"):
        open_source(path)


def test_plain_bytes_and_missing_images_are_read(tmp_path):
    """A guard: a column of bytes, and one with holes, held before."""
    path = write_labelled(tmp_path / "x.parquet", [0, 1], image=[png()["bytes"], None])
    first, second = open_source(path).read("all", [0, 1])
    assert first.decode().shape == (3, 8, 8)
    with pytest.raises(DataError):
        second.decode()


def test_files_that_do_not_fit_together_are_bad_data(tmp_path):
    write_labelled(tmp_path / "train-0.parquet", [0, 1])
    pq.write_table(pa.table({"image": [png()]}), tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match="train image 2 has label -1"):
        open_source(str(tmp_path))


def write_repeated(path, compression="snappy", dictionary=True, value=1_000_000, rows=400):
    """One value, once in the file and in all rows."""
    table = pa.table({"image": pa.array([b"\0" * value] * rows, pa.large_binary())})
    pq.write_table(table, path, compression=compression, use_dictionary=["image"] if dictionary else False)
    return path


def test_a_dictionary_is_no_bomb(tmp_path):
    path = write_repeated(tmp_path / "x.parquet", "zstd")
    assert path.stat().st_size < 3000
    megabytes, reason = peak_until_refused(path)
    assert "decoded to more than" in reason
    assert megabytes < 250


def test_compressed_pages_are_no_bomb(tmp_path):
    path = write_repeated(tmp_path / "x.parquet", "zstd", dictionary=False)
    assert path.stat().st_size < 200_000
    megabytes, reason = peak_until_refused(path)
    assert "decoded to more than" in reason
    assert megabytes < 100


def test_the_summary_of_a_bomb_may_lie(tmp_path):
    """The sizes in the footer say little, those in front of the pages the truth."""
    path = tmp_path / "x.parquet"
    write_repeated(path, "zstd", dictionary=False, value=150_000_000, rows=1)
    column = pq.ParquetFile(path).metadata.row_group(0).column(0)
    content = path.read_bytes()
    footer = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
    true, lie = varint(column.total_uncompressed_size), varint(30)
    changed = content[footer:-8].replace(true, lie, 1)
    assert changed != content[footer:-8]
    path.write_bytes(content[:footer] + changed + struct.pack("<I", len(changed)) + b"PAR1")
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).total_uncompressed_size == 30
    megabytes, reason = peak_until_refused(path)
    assert "decoded to more than" in reason
    assert megabytes < 100


def varint(number):
    """As Thrift's compact encoding writes a whole number."""
    number, parts = number << 1, []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def test_more_rows_than_there_can_be_are_bad_data(tmp_path):
    pq.write_table(pa.table({"image": pa.nulls(30_000_000, pa.binary())}), tmp_path / "x.parquet")
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    with pytest.raises(DataError, match="decoded to more than"):
        open_source(str(tmp_path))


def test_genuine_files_are_read_whole(tmp_path):
    """A guard: many pages, row groups and encodings held before."""
    rng = np.random.default_rng(0)
    values = [rng.bytes(int(n)) for n in rng.integers(1, 20_000, 3000)]
    values += values[:50] * 3
    for number, (options, kind) in enumerate(
        [
            ({"row_group_size": 700}, pa.binary()),
            ({"use_dictionary": False, "compression": "gzip"}, pa.large_binary()),
            ({"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}, pa.binary()),
            ({"data_page_version": "2.0", "compression": "none", "data_page_size": 100}, pa.binary()),
        ]
    ):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"image": pa.array(values, kind)}), path, **options)
        source = ParquetSource((path,))
        order = rng.permutation(len(values))
        assert [item.content for item in source.read("all", order.tolist())] == [values[i] for i in order]


def test_damaged_files_are_bad_data(tmp_path):
    """Bytes changed anywhere: an error of ours, or still a source."""
    path = tmp_path / "x.parquet"
    write_labelled(path, [0, 1] * 20)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(600):
        damaged = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged if rng.random() < 0.8 else damaged[: rng.integers(len(damaged))])
        try:
            source = open_source(str(path))
            source.read("all", range(0, source.splits["all"], 3))
        except DataError:
            continue


def test_counts_that_contradict_each_other_are_bad_data(tmp_path):
    """Of 9 rows, one of the many counts in a file says 6, and one column is shorter than the other."""
    path = tmp_path / "x.parquet"
    table = pa.table({"image": [png()] * 9, "mask": [png()] * 9})
    pq.write_table(table.replace_schema_metadata({"classes": '["a", "b"]'}), path)
    content, reasons = path.read_bytes(), []
    for place in (place for place, byte in enumerate(content) if byte == 2 * 9):
        changed = tmp_path / f"{place}.parquet"  # tables are cached by name
        changed.write_bytes(content[:place] + bytes([2 * 6]) + content[place + 1 :])
        try:
            open_source(str(changed)).read("all", range(6))
        except DataError as error:
            reasons.append(error.args[0])
    for column in ("image", "mask"):
        assert any(f"does not have 9 rows in column {column!r}, as it says" in reason for reason in reasons)


def test_a_pipe_is_no_parquet_file(tmp_path):
    """In a process of its own: what waits in pyarrow hears no signal."""
    os.mkfifo(tmp_path / "x.parquet")
    assert "not a regular file" in peak_until_refused(tmp_path, seconds=20)[1]


# CIFAR


def write_cifar10(root, batch, names=None, content=None):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(exist_ok=True)
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        (folder / name).write_bytes(content or pickle.dumps(batch, protocol=2))
    names = ["ship", "frog"] if names is None else names
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=2))
    return f"cifar10:{root}"


def genuine(count=4):
    data = np.random.default_rng(0).integers(0, 256, (count, 3072), dtype=np.uint8)
    return {"data": data, "labels": [0, 1] * (count // 2)}


def python2_string(text):
    raw = text.encode("latin1")
    return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + struct.pack("<i", len(raw)) + raw


class Python2:
    """Pickles as Python 2 wrote them: byte strings for everything, protocol 2, each thing numbered."""

    def __init__(self):
        self.numbered = 0

    def number(self, opcodes):
        self.numbered += 1
        small = self.numbered < 257
        return opcodes + (bytes([113, self.numbered - 1]) if small else b"r" + struct.pack("<I", self.numbered - 1))

    def dump(self, value):
        return b"\x80\x02" + self.write(value) + b"."

    def write(self, value):
        if isinstance(value, dict):
            begin = self.number(b"}") + b"("
            return begin + b"".join(self.write(part) for pair in value.items() for part in pair) + b"u"
        if isinstance(value, list):
            return self.number(b"]") + b"(" + b"".join(map(self.write, value)) + b"e"
        if isinstance(value, int):
            return b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value)
        if isinstance(value, str):
            return self.number(python2_string(value))
        parts = b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n", b"K\0\x85", b"U\1b", b"\x87", b"R"
        made = b"".join(map(self.number, parts))
        dtype = self.number(b"cnumpy\ndtype\n") + self.number(python2_string("u1")) + b"K\0K\1\x87R"
        dtype += b"(K\3" + python2_string("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        shape = b"".join(map(self.write, value.shape)) + b"\x86"
        return made + b"(K\1" + shape + dtype + b"\x89" + self.write(value.tobytes().decode("latin1")) + b"tb"


WRITERS = {
    "python 2": lambda value: Python2().dump(value),
    "protocol 2": lambda value: pickle.dumps(value, protocol=2),
    "protocol 4": lambda value: pickle.dumps(value, protocol=4),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_genuine_cifar_is_read(tmp_path, write):
    """A guard: the files that torchvision fetches, and those of Python 3, held before."""
    data = np.random.default_rng(0).integers(0, 256, (300, 3072), dtype=np.uint8)
    names = [f"{i}.png" for i in range(300)]
    labels = [i % 2 for i in range(300)]
    batch = {"batch_label": "training batch 1 of 5", "labels": labels, "data": data, "filenames": names}
    source = open_source(write_cifar10(tmp_path, None, content=write(batch)))
    assert source.splits == {"train": 1500, "test": 300}
    assert source.read_labels("test").tolist() == labels
    assert (source.read("train", [301])[0].content == data[1].reshape(3, 32, 32)).all()
    hundred = tmp_path / "cifar-100-python"
    hundred.mkdir()
    meta = {"fine_label_names": ["apple", "bear"], "coarse_label_names": ["fruit"]}
    (hundred / "meta").write_bytes(write(meta))
    for name in ("train", "test"):
        fine = {"filenames": names, "fine_labels": labels, "coarse_labels": [0] * 300, "data": data}
        (hundred / name).write_bytes(write({"batch_label": name, **fine}))
    source = open_source(f"cifar100:{tmp_path}")
    assert (source.classes, source.splits) == (("apple", "bear"), {"train": 300, "test": 300})
    assert source.read_labels("train").tolist() == labels


def test_a_column_major_array_is_read_in_its_order(tmp_path):
    """A guard: held before."""
    batch = genuine()
    source = open_source(write_cifar10(tmp_path, {**batch, "data": np.asfortranarray(batch["data"])}))
    assert (source.read("test", [3])[0].content.reshape(-1) == batch["data"][3]).all()


@pytest.mark.parametrize(
    "change",
    [
        {"data": None},
        {"data": [1, 2]},
        {"data": "text"},
        {"data": np.zeros((4, 3071), np.uint8)},
        {"data": np.zeros((4, 3072), np.float32)},
        {"data": np.zeros(4 * 3072, np.uint8)},
        {"data": np.array(["x"], object)},
        {"labels": None},
        {"labels": [0, 1, 0]},
        {"labels": [0, 1, 0, 2]},
        {"labels": [0, 1, 0, -1]},
        {"labels": [0, 1, 0, 1.0]},
        {"labels": [0, 1, 0, "1"]},
        {"labels": [0, 1, 0, None]},
        {"labels": [0, 1, 0, True]},
        {"labels": [0, 1, 0, 10**30]},
        {"labels": "0101"},
        {"labels": {0: 1}},
    ],
    ids=repr,
)
def test_odd_batches_are_bad_data(tmp_path, change):
    with pytest.raises(DataError, match=r"data_batch_1"):
        open_source(write_cifar10(tmp_path, {**genuine(), **change}))


@pytest.mark.parametrize("names", ["ab", None, 7, [1, 2], ["a", None], ["a", "a"], {"a": 1}], ids=repr)
def test_odd_names_are_bad_data(tmp_path, names):
    folder = write_cifar10(tmp_path, genuine())
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    with pytest.raises(DataError, match=r"batches\.meta|name of class"):
        open_source(folder)


ARRAY = b"\x80\x02cnumpy\nndarray\n"
RECONSTRUCT = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"
DTYPE = b"\x80\x02cnumpy\ndtype\n"
BIG = b"\x8a\x05\0\0\0\0\x10"  # 2**36
OBJECTS = DTYPE[2:] + b"U\2O8K\0K\1\x87R(K\3U\1|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
HOSTILE = {
    "a list": pickle.dumps([1]),
    "a number": pickle.dumps(7),
    "pairs of nothing": pickle.dumps([1, 2]),
    "nothing": b"\x80\x02N.",
    "an unhashable key": b"\x80\x02}]K\1s.",
    "an array by shape": ARRAY + BIG + b"\x85R.",
    "an array by new": ARRAY + BIG + b"\x85\x85\x81.",
    "a reconstructed array by shape": RECONSTRUCT + ARRAY[2:] + BIG + b"\x85U\1b\x87R.",
    "a state without an array": RECONSTRUCT + b")R(K\1tb.",
    "a type": DTYPE + b"U\3V99\x85R.",
    "a changed dictionary": DTYPE + b"}U\1xK\1sb.",
    "a huge memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a huge memo in digits": b"Np4000000000\n.",
    "a huge array of objects": RECONSTRUCT + b")R(K\1" + BIG + b"\x85" + OBJECTS + b"\x89]tb.",
}
HELD = {
    "empty": b".",
    "cut": pickle.dumps(genuine())[:300],
    "an unknown opcode": b"\x80\x02\xff.",
    "a huge number": b"I" + b"9" * 5000 + b"\n.",
    "an array of objects": pickle.dumps(np.array([[], 1], object), 2),
    "a changed function": RECONSTRUCT + b"N}U\x0c__defaults__)s\x86b.",
    "an extension": b"\x80\x02\x82\1.",
    "a name from outside": b"\x80\x02U\1aQ.",
    "a long text": b"\x80\x02T\xff\xff\xff\x7fab.",
    "a huge text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60) + b"ab.",
    "a memo within the file": b"\x80\x02Nr" + struct.pack("<I", 900) + b"U\xff" + bytes(255) + b"0" * 800 + b".",
    "a buffer": b"\x80\x05\x97.",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_bad_data(tmp_path, content):
    with pytest.raises(DataError, match="data_batch_1 is not a CIFAR batch"):
        open_source(write_cifar10(tmp_path, None, content=content))


@pytest.mark.parametrize("content", HELD.values(), ids=HELD)
def test_other_hostile_pickles_are_bad_data(tmp_path, content):
    """A guard: these were refused before."""
    test_hostile_pickles_are_bad_data(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [HOSTILE["a huge memo"], HOSTILE["an array by shape"], b"\x80\x02}U\1a" + b"\x85" * 900_000 + b"K\1s."],
    ids=["memo", "array", "nested"],
)
def test_hostile_pickles_cost_nothing(tmp_path, content):
    """The nested one is a key whose hash overflows the stack."""
    megabytes, _ = peak_until_refused(write_cifar10(tmp_path, None, content=content))
    assert megabytes < 100


def test_a_pickle_may_be_long_or_no_file(tmp_path):
    place = write_cifar10(tmp_path, genuine())
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    os.truncate(batch, (256 << 20) + 1)
    with pytest.raises(DataError, match="more than 268,435,456"):
        open_source(place)
    batch.unlink()
    os.mkfifo(batch)
    with within(5), pytest.raises(DataError, match="not a regular file"):
        open_source(place)
    batch.unlink()
    with pytest.raises(DataError, match="cannot read"):
        open_source(place)


# Names and labels


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([1, 2], "class 0 is of type int, not text"),
        (["a", None], "class 1 is of type NoneType"),
        (["a", b"b"], "of type bytes"),
        (["a", "b", "a"], r"class 2, 'a', is there twice"),
        ([""], "is empty"),
        (["x" * 300], "300 bytes in UTF-8, more than 255"),
        (["\u00fc" * 128], "256 bytes"),
        (["a\0"], r"'a\\u0000', has control characters"),
        (["\x1b[2J"], r"'\\u001b\[2J', has control"),
        (["a\x85"], "control"),
        (["a\x7f"], "control"),
        (["a\u2028b"], r"\\u2028"),
        (["\u202egpj"], "control"),
        (["\u2066a"], "control"),
        (["\ud800"], r"'\\ud800', is not valid Unicode"),
        ([str(i) for i in range(100_001)], "100,001 classes, more than 100,000"),
    ],
)
def test_names_that_could_not_be_opened_again_are_refused(names, reason):
    with pytest.raises(DataError, match=reason) as caught:
        check_names(names)
    assert str(caught.value.args[0]).isprintable()
    assert len(str(caught.value)) < 400


def test_ordinary_names_are_taken():
    check_names(["cat", "Tür", "犬", "a b/c", "x" * 255, "ä" * 127, " 0"])
    check_names([])
    check_names(tuple(str(i) for i in range(100_000)))


@pytest.mark.parametrize(
    ("labels", "classes", "masked"),
    [
        ([0, 2], "ab", False),
        ([0, -1], "ab", False),
        ([0], "", False),
        ([-2], "", False),
        ([2], "ab", True),
        ([-2], "ab", True),
    ],
)
def test_labels_beyond_the_classes_are_refused(labels, classes, masked):
    with pytest.raises(DataError, match=rf"train image {len(labels) - 1} has label {labels[-1]}, there are"):
        check_labels(labels, tuple(classes), masked)


def test_possible_labels_are_taken():
    check_labels([0, 1], ("a", "b"))
    check_labels([-1, -1], ())
    check_labels([-1, -1], ("a", "b"), masked=True)
    check_labels([-1, 1], ("a", "b"), masked=True)
    check_labels([], ("a",))


def test_odd_class_folders_are_refused(folder):
    for name in (b"\xff\xfe", b"a\x1bc"):
        place = folder / "train" / os.fsdecode(name)
        place.mkdir()
        with pytest.raises(DataError, match="the name of class"):
            open_source(str(folder))
        place.rmdir()


# Folders


def test_file_names_that_are_not_utf8_are_read_and_can_be_written(folder):
    (folder / "train" / "cat" / os.fsdecode(b"\xff.png")).write_bytes(png()["bytes"])
    items = open_source(str(folder)).read("train", range(13))
    name = next(item.name for item in items if "xff" in ascii(item.name) or "udcff" in ascii(item.name))
    assert name.encode() == b"train/cat/\\xff.png"
    assert next(item for item in items if item.name == name).decode().shape == (3, 8, 8)


def forbid(monkeypatch, place):
    """As if a folder could not be listed; root can list any."""
    scandir, listdir = os.scandir, os.listdir

    def refuse(listed):
        def list_it(path="."):
            if os.fspath(path) == str(place):
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        return list_it

    monkeypatch.setattr(os, "scandir", refuse(scandir))
    monkeypatch.setattr(os, "listdir", refuse(listdir))


@pytest.mark.parametrize("part", ["", "train", "train/cat", "train/cat/deep"])
def test_folders_that_cannot_be_listed_are_bad_data(monkeypatch, folder, part):
    (folder / "train" / "cat" / "deep").mkdir()
    forbid(monkeypatch, folder / part)
    with pytest.raises(DataError, match="Permission denied"):
        open_source(str(folder))


def test_files_that_vanish_are_bad_data(folder):
    """A guard: held before."""
    source = open_source(str(folder))
    (folder / "train" / "cat" / "00.png").unlink()
    with pytest.raises(DataError, match=r"00\.png"):
        source.read("train", [0])[0].decode()


def test_a_folder_that_vanishes_while_it_is_listed_is_bad_data(folder):
    with pytest.raises(DataError, match="cannot list"):
        FolderSource(folder / "gone")


def test_deep_folders_are_listed(folder):
    """Without recursion; links to folders are not followed, those to nowhere skipped, as ever."""
    inner = folder / "train" / "cat"
    for _ in range(300):
        inner = inner / "d"
        inner.mkdir()
    (inner / "deep.png").write_bytes(png()["bytes"])
    (folder / "train" / "cat" / "again").symlink_to(folder / "train")
    (folder / "train" / "cat" / "nowhere.png").symlink_to("/nowhere.png")
    (folder / "train" / "cat" / "round.png").symlink_to(folder / "train" / "cat" / "round.png")
    os.mkfifo(folder / "train" / "cat" / "pipe.png")
    usual = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack()) + 200)
        assert open_source(str(folder)).splits == {"train": 13, "test": 6}
    finally:
        sys.setrecursionlimit(usual)


@pytest.mark.parametrize("place", ["x" * 5000, "cifar10:" + "x" * 5000])
def test_impossible_places_are_bad_data(place):
    with pytest.raises(DataError):
        open_source(place)


def test_links_in_a_circle_are_bad_data(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError):
        open_source(canonical_source(str(tmp_path / "a")))


# The files of a source


def test_a_source_names_its_files(folder, tmp_path):
    source = open_source(str(folder))
    path = folder / "test" / "cat" / "00.png"
    facts = path.stat()
    assert len(list(source.files)) == 18
    assert list(source.files) == sorted(source.files)
    assert next(iter(source.files)) == ("test/cat/00.png", facts.st_size, facts.st_mtime_ns)
    before = list(source.files)
    path.write_bytes(b"new")
    assert list(source.files) == before  # listed once
    assert list(open_source(str(folder)).files) != before
    flat = open_source(f"{folder / 'train'}?hold_out=2")
    assert len(list(flat.files)) == 12
    assert list(augment(ClassSubset(source, ["cat"]), 2).files) == before


def test_other_sources_name_their_files(tmp_path):
    write_labelled(tmp_path / "train-1.parquet", [0])
    write_labelled(tmp_path / "train-0.parquet", [1])
    assert [name for name, _, _ in open_source(str(tmp_path)).files] == ["train-0.parquet", "train-1.parquet"]
    names = [name for name, _, _ in open_source(write_cifar10(tmp_path, genuine())).files]
    assert names == ["batches.meta", *(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    assert open_source("synthetic:tiny").files == ()


def test_a_folder_is_listed_once(monkeypatch, folder):
    source = open_source(str(folder))
    listed = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", listed.append)
        patch.setattr(os, "listdir", listed.append)
        assert len(list(source.files)) == 18
        assert len(source.read_labels("train")) == 12
        source.read("train", range(12))
    assert not listed


# Options of sources


@pytest.mark.parametrize("every", ["1" * 5000, str(HUGE), "\u0663", "\uff13"])
def test_odd_numbers_to_hold_out_are_refused(folder, every):
    with pytest.raises(UsageError, match="hold"):
        open_source(f"{folder / 'train'}?hold_out={every}")


@pytest.mark.parametrize("every", ["9" * 18, "²", "", "-2", "2.0", "1_0", " 3"])
def test_other_odd_numbers_to_hold_out_are_refused(folder, every):
    """A guard: these were refused before."""
    test_odd_numbers_to_hold_out_are_refused(folder, every)


def test_huge_numbers_to_hold_out_are_refused(folder):
    with pytest.raises(UsageError, match=f"no class has {HUGE} images"):
        HeldOut(open_source(str(folder / "train")), HUGE)


@pytest.mark.parametrize("given", ["0-" + "1" * 5000, "\u0660-\u0661"])
def test_odd_ranges_of_classes_are_refused(folder, given):
    with pytest.raises(UsageError, match="cannot take the classes"):
        ClassSubset(open_source(str(folder)), [given])


def test_lists_of_classes_are_regular_and_short(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", (16 << 20) + 1)
    (tmp_path / "odd").write_bytes(b"\xff")
    for name in ("pipe", "huge", "odd", "", "nul\0"):
        with within(5), pytest.raises(DataError, match="cannot read the classes"):
            parse_classes(f"@{tmp_path / name}")
    (tmp_path / "good").write_bytes("a\r\nb c\rd\n\nü".encode())
    assert parse_classes(f"@{tmp_path / 'good'}") == ("a", "b c", "d", "ü")
