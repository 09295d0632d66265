"""What a case's folder holds, as a value: written out afresh for every input."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

FORMATS = Path(__file__).parents[2] / "formats" / "6e12651"
VERSION_2 = "../f5b6414"
"""Where, seen from there, lie sets of format version 2."""


@dataclass(frozen=True)
class Link:
    """A symbolic link; ``{outside}`` in its target is a folder beside the case's."""

    target: str


@dataclass(frozen=True)
class Pipe:
    """A named pipe that nobody writes to."""


@dataclass(frozen=True)
class Folder:
    """An empty folder."""


Node = bytes | Link | Pipe | Folder
Tree = dict[str, Node]


def read_tree(root: Path) -> Tree:
    """All files below a folder, by relative path."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def below(name: str, tree: Tree) -> Tree:
    """The same tree inside a folder."""
    return {f"{name}/{path}": node for path, node in tree.items()}


def measure_tree(tree: Tree) -> int:
    """Bytes of all its files."""
    return sum(len(node) for node in tree.values() if isinstance(node, bytes))


def write_tree(root: Path, tree: Tree, outside: Path) -> None:
    """Make ``root`` with exactly this content."""
    root.mkdir(parents=True)
    for path, node in tree.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(node, bytes):
            place.write_bytes(node)
        elif isinstance(node, Link):
            place.symlink_to(node.target.format(outside=outside))
        elif isinstance(node, Pipe):
            os.mkfifo(place)
        else:
            place.mkdir()


def remove_tree(root: Path) -> None:
    """Remove a case's folder, whatever became of it."""
    shutil.rmtree(root, ignore_errors=True)


def replace_node(rng: Random, tree: Tree, path: str) -> tuple[Tree, str]:
    """Put something else where a file is: nothing, a folder, a pipe, a link."""
    kinds: list[tuple[str, Node | None]] = [
        ("nothing", None),
        ("an empty file", b""),
        ("a folder", Folder()),
        ("a link to a copy outside", Link("{outside}/copy")),
        ("a link to nothing", Link("{outside}/nothing")),
        ("a link to itself", Link(Path(path).name)),
        ("a link to a folder", Link("{outside}")),
        ("a link to /dev/null", Link("/dev/null")),
    ]
    if rng.random() < 0.02:  # slow where it is a failure
        kinds = [("a pipe", Pipe()), ("a link to /dev/zero", Link("/dev/zero"))]
    word, node = rng.choice(kinds)
    changed = {name: content for name, content in tree.items() if name != path}
    if node is not None:
        changed[path] = node
    return changed, f"{path} -> {word}"
