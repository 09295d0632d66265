"""Images that a command line names: files, folders, patterns, and ``-`` for what comes in on stdin."""

import sys
from collections.abc import Sequence
from pathlib import Path

from cipherlens.data.images import Item
from cipherlens.data.sources.folder import IMAGE_SUFFIXES
from cipherlens.errors import DataError, UsageError

CIPHERTEXT = ".npy"
STDIN = "/dev/stdin"
"""What - stands for: cyclopts takes a lone hyphen for an option, so ``main`` puts this in its place."""
_STDIN_BYTES = 256 << 20
"""Maximum bytes of an image on stdin. A limit on memory."""
_MAGIC = b"\x93NUMPY"


def list_images(given: Sequence[str]) -> list[Item]:
    """All images named, those of folders and patterns in order. Raises DataError for what is no image."""
    return [item for name in given for item in ([_read_stdin()] if name == STDIN else _list_files(name))]


def is_ciphertext(item: Item) -> bool:
    """Whether it is an array, and no picture."""
    if isinstance(item.content, bytes):
        return item.content.startswith(_MAGIC)
    return item.name.endswith(CIPHERTEXT)


def _list_files(name: str) -> list[Item]:
    path = Path(name)
    if path.is_dir():
        inside = sorted(filter(_is_image, path.rglob("[!.]*")))
        if not inside:
            raise DataError(f"{path} holds no images", hint="give image files, .npy files, or folders of them")
        return [_name(file) for file in inside]
    if path.is_file():
        return [_name(path)]
    found = _match(path) if set("*?[") & set(name) else []
    if not found:
        raise DataError(f"no image {path}", hint="check the path")
    return [_name(match) for match in found]


def _match(pattern: Path) -> list[Path]:
    """The images that fit a pattern, each once."""
    # From Python 3.13 on ** beside other signs is taken for *, before it is an error.
    if any("**" in part and part != "**" for part in pattern.parts):
        raise UsageError(f"{pattern} is no pattern: ** stands alone", hint="for example 'photos/**/*.jpg'")
    found = sorted(set(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))))
    return list(filter(_is_image, found))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, CIPHERTEXT) and path.is_file()


def _name(path: Path) -> Item:
    return Item(str(path), -1, path)


def _read_stdin() -> Item:
    content = sys.stdin.buffer.read(_STDIN_BYTES + 1)
    if not content:
        raise DataError("no image on stdin", hint="send one, as in: cat photo.jpg | cipherlens predict RUN -")
    if len(content) > _STDIN_BYTES:
        raise DataError(f"the image on stdin has more than {_STDIN_BYTES >> 20} MiB", hint="give a smaller one")
    return Item("stdin", -1, content)
