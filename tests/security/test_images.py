"""Images made by somebody else: none may cost more than its pixels, run a program, or end in a traceback."""

import io
import os
import signal
import struct
import subprocess
import sys
import warnings
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from cipherlens.ciphers import create_cipher
from cipherlens.data import images
from cipherlens.data.images import IGNORED, Item, Preprocess, resize_and_crop
from cipherlens.data.sealed.reading import SealOptions
from cipherlens.data.sealed.seal import seal
from cipherlens.errors import DataError, UsageError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n%%EOF\n"


@contextmanager
def within(seconds):
    """Fail, instead of waiting for ever."""

    def stop(*_):
        pytest.fail(f"still waiting after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def one_bit_png(width, height):
    """A black picture; its size is all that grows."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiled_tiff(side, tile):
    """A small picture in one large tile."""
    content = zlib.compress(bytes(tile * tile), 9)
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: 0, 325: len(content)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


def decoders(content):
    """The same content as an image, and as a mask."""
    return {"image": Item("odd.png", -1, content).decode, "mask": Item("odd.png", -1, b"", content).decode_mask}


@pytest.mark.parametrize("use", ["image", "mask"])
@pytest.mark.parametrize(
    "error", [RuntimeError, NotImplementedError, MemoryError, KeyError, struct.error, RecursionError, EOFError]
)
def test_whatever_a_decoder_raises_is_bad_data(monkeypatch, use, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(images.Image, "open", fail)
    with pytest.raises(DataError, match=r"odd\.png cannot be decoded") as caught:
        decoders(b"some")[use]()
    assert "on_error" in caught.value.parameters


@pytest.mark.parametrize("kind", ["AVIF", "DDS", "PPM", "TGA", "ICO", "JPEG2000", "SGI", "PCX", "SPIDER"])
def test_only_the_formats_of_image_folders_are_opened(kind):
    picture = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
    content = encode(picture.convert("F") if kind == "SPIDER" else picture, kind)
    for decode in decoders(content).values():
        with pytest.raises(DataError, match="is not an image"):
            decode()


def test_every_format_of_image_folders_is_opened():
    """A guard: this held before."""
    pixels = np.arange(768, dtype=np.uint8).reshape(16, 16, 3)
    for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF"):
        found = Item("a", -1, encode(Image.fromarray(pixels), kind)).decode()
        assert (found.shape, found.dtype) == ((3, 16, 16), np.uint8)
        if kind in ("PNG", "BMP", "TIFF"):
            assert (found.transpose(1, 2, 0) == pixels).all()


def test_photos_of_phones_are_opened():
    """A guard: MPO, a JPEG with another one behind, held before."""
    one, two = (Image.new("RGB", (16, 16), (n, n, n)) for n in (10, 200))
    content = encode(one, "MPO", save_all=True, append_images=[two])
    assert Image.open(io.BytesIO(content)).format == "MPO"
    assert abs(Item("a.jpg", -1, content).decode().astype(int) - 10).max() < 4


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".eps"])
def test_no_picture_starts_ghostscript(monkeypatch, tmp_path, suffix):
    from PIL import EpsImagePlugin

    started = []
    monkeypatch.setattr(
        EpsImagePlugin, "Ghostscript", lambda *a, **k: started.append(a) or Image.new("RGB", (9, 9))
    )
    path = tmp_path / f"x{suffix}"
    path.write_bytes(EPS)
    for decode in (*decoders(EPS).values(), Item("odd.png", -1, path).decode):
        with pytest.raises(DataError, match="is not an image"):
            decode()
    assert not started


def test_only_regular_files_are_read_and_none_is_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "huge.png").touch()
    os.truncate(tmp_path / "huge.png", (1 << 30) + 1)
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "link.png").symlink_to(tmp_path / "fifo.png")
    for name, reason in {
        "fifo": "not a regular file",
        "link": "not a regular file",
        "device": "not a regular file",
        "folder": "directory|not a regular file",
        "huge": "more than 1,073,741,824",
        "none": "No such file",
    }.items():
        with within(5), pytest.raises(DataError, match=rf"{name}\.png cannot be decoded: .*({reason})"):
            Item(f"{name}.png", -1, tmp_path / f"{name}.png").decode()


def test_links_to_pictures_are_followed(tmp_path):
    """A guard: photo folders of links held before."""
    (tmp_path / "real.png").write_bytes(encode(Image.new("RGB", (4, 5))))
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert Item("a", -1, tmp_path / "link.png").decode().shape == (3, 5, 4)


@pytest.mark.parametrize("use", ["image", "mask"])
def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch, use):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    for content in (one_bit_png(13_300, 13_300), one_bit_png(60_000, 8_000)):
        assert len(content) < 70_000
        with pytest.raises(DataError, match=r"odd\.png has .* pixels, more than 100,000,000") as caught:
            decoders(content)[use]()
        assert "max_pixels" in caught.value.parameters


def test_the_limit_is_a_choice():
    picture = encode(Image.new("L", (20, 10)))
    item = Item("odd.png", 0, picture, picture)
    small, enough = Preprocess(max_pixels=199), Preprocess(max_pixels=200)
    for apply in (small.apply, small.apply_to_mask):
        with pytest.raises(DataError, match="20x10 pixels, more than 199"):
            apply(item)
    assert enough.apply(item).shape == (3, 10, 20)
    assert enough.apply_to_mask(item).shape == (1, 10, 20)


def test_no_warning_about_pictures_within_the_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # as if the picture had 100 million
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for decode in decoders(encode(Image.new("L", (12, 12)))).values():
            decode()


def test_a_small_tiff_in_a_huge_tile_is_refused():
    assert Item("a.tif", -1, tiled_tiff(16, 64)).decode().shape == (3, 16, 16)
    with pytest.raises(DataError, match="11008x11008 pixels, more than"):
        Item("a.tif", -1, tiled_tiff(16, 11_008)).decode()


@pytest.mark.parametrize("size", [0, -1, 16_385, 10**20, 1.5, "224"])
def test_a_size_that_cannot_be_is_refused(size):
    with pytest.raises(UsageError, match="size is a whole number from 1 to 16,384"):
        Preprocess(size=size)


@pytest.mark.parametrize("limit", [0, -1, 178_956_971, 1e8])
def test_a_limit_that_cannot_be_is_refused(limit):
    with pytest.raises(UsageError, match="max_pixels is a whole number from 1 to 178,956,970"):
        Preprocess(max_pixels=limit)


def test_possible_sizes_and_limits_are_taken():
    for size, limit in ((1, 1), (16_384, 178_956_970), (None, 100_000_000)):
        assert Preprocess(size, max_pixels=limit).max_pixels == limit


def whole_resize(pixels, size, resampling):
    """As it was done for every picture, however long: what is in older sealed sets."""
    _, height, width = pixels.shape
    if (height, width) == (size, size):
        return pixels
    scale = size / min(height, width)
    rows, columns = max(size, round(height * scale)), max(size, round(width * scale))
    rows_first = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    image = Image.fromarray(rows_first[:, :, 0] if len(pixels) == 1 else rows_first)
    image = image.resize((columns, rows), resampling)
    top, left = (rows - size) // 2, (columns - size) // 2
    resized = np.asarray(image).reshape(rows, columns, -1).transpose(2, 0, 1)
    return resized[:, top : top + size, left : left + size]


def test_ordinary_pictures_are_resized_bit_for_bit_as_ever():
    """A guard: older sealed sets are compared with photos that are read again."""
    rng = np.random.default_rng(0)
    shapes = [(8, 64), (64, 8), (1, 8), (3, 24), (16, 16), *rng.integers(20, 150, (60, 2)).tolist()]
    for height, width in shapes:
        size = int(rng.choice([1, 7, 16, 33, 64]))
        for channels, resampling in ((3, Image.Resampling.BILINEAR), (1, Image.Resampling.NEAREST)):
            pixels = rng.integers(0, 256, (channels, height, width), dtype=np.uint8)
            found = resize_and_crop(pixels, size, resampling)
            assert (found == whole_resize(pixels, size, resampling)).all(), (height, width, size)


@pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 9_999), (40, 321)])
def test_of_a_very_long_picture_only_the_centre_is_resized(monkeypatch, shape):
    sizes = []
    resize = Image.Image.resize

    def record(image, size, resampling):
        sizes.append(size)
        return resize(image, (8, 8), resampling) if max(size) > 10_000 else resize(image, size, resampling)

    monkeypatch.setattr(Image.Image, "resize", record)
    pixels = np.zeros((3, *shape), np.uint8)
    middle = np.index_exp[:, shape[0] // 2 : shape[0] // 2 + 1, shape[1] // 2 : shape[1] // 2 + 1]
    pixels[middle] = 255
    item = Item("long.png", 0, pixels, pixels[0])
    found = Preprocess(224).apply(item)
    assert found.shape == (3, 224, 224)
    assert found[:, 100:124, 100:124].max() > 100  # still the middle of the picture
    assert Preprocess(224).apply_to_mask(item).shape == (1, 224, 224)
    assert max(map(max, sizes)) <= 8 * 224


def test_the_157_bytes_that_took_six_gigabytes(tmp_path):
    """In a process of its own, with an end to its memory."""
    Image.new("1", (1, 20_000)).save(tmp_path / "long.png")
    script = (
        "import resource, sys; from pathlib import Path\n"
        "from cipherlens.data.images import Item, Preprocess\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "print(Preprocess(224).apply(Item('long.png', -1, Path(sys.argv[1]))).shape)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(tmp_path / "long.png")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "(3, 224, 224)\n", done.stderr


def test_an_ignored_class_is_read_as_ignored():
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4) % 3
    item = Item("a", -1, b"", encode(Image.fromarray(mask)), ignored=2)
    assert (item.decode_mask()[0] == np.where(mask == 2, IGNORED, mask)).all()
    with pytest.raises(DataError, match="mask of a is missing"):
        Item("a", -1, b"").decode_mask()


def test_mutated_pictures_are_bad_data_or_pictures():
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
    kinds = [(k, {}) for k in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "AVIF", "DDS")]
    for kind, options in [*kinds, ("TIFF", {"compression": "tiff_deflate"}), ("TIFF", {"compression": "tiff_lzw"})]:
        content = bytearray(encode(picture, kind, **options))
        for _ in range(150):
            mutated = content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else content.copy()
            for place in rng.integers(0, min(len(mutated), 400), rng.integers(1, 6)):
                mutated[place] = rng.integers(256)
            for decode in decoders(bytes(mutated)).values():
                try:
                    decode()
                except DataError:
                    continue


def test_odd_pictures_are_skipped_on_request(folder, tmp_path, key):
    train = folder / "train" / "cat"
    (train / "90.png").write_bytes(encode(Image.new("RGB", (16, 16)), "AVIF")[:200])
    (train / "91.jpg").write_bytes(EPS)
    (train / "92.png").write_bytes(one_bit_png(13_300, 13_300))
    odd = bytearray(encode(Image.new("L", (16, 16)), "DDS"))
    odd[80:88] = b"\4\0\0\0ABCD"  # an unknown compression: NotImplementedError
    (train / "93.png").write_bytes(odd)
    report = seal(str(folder), tmp_path / "out", create_cipher("identity"), key, SealOptions(on_error="skip"))
    assert (report.images, report.skipped_images) == (18, 4)
