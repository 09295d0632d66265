"""What the desk shows: photos with all that became of them, the curve of what was read, and trials."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cipherlens.desk.pictures import Pixels, to_png
from cipherlens.desk.setting import Setting
from cipherlens.errors import CipherlensError


@dataclass(eq=False)
class Photo:
    """One photo: as it is, as it was sealed and sent, the provider's answer, what the eavesdropper made of it.

    ``choice``: number of the choice of key and setting under which it was sealed. ``answer``: classes with their
    probabilities, the highest first; ``refused``: why there are none. ``similarity``: SSIM of ``read``.
    """

    number: int
    name: str
    prepared: Pixels = field(repr=False)
    pixels: Pixels = field(repr=False)
    sealed: NDArray[Any] = field(repr=False)
    choice: int = 0
    answer: list[tuple[str, float]] = field(default_factory=list)
    refused: str = ""
    read: Pixels | None = field(default=None, repr=False)
    similarity: float | None = None
    version: int = 0
    """Grows with each change of its pictures."""
    _files: dict[str, bytes] = field(default_factory=dict, repr=False)

    def seal_again(self, pixels: Pixels, sealed: NDArray[Any], choice: int) -> None:
        """Take another choice's pixels and ciphertext; what was known of the old one is forgotten."""
        self.pixels, self.sealed, self.choice = pixels, sealed, choice
        self.answer, self.refused, self.read, self.similarity = [], "", None, None
        self._change()

    def show_read(self, picture: Pixels, similarity: float) -> None:
        """Take what the eavesdropper reads of it now."""
        self.read, self.similarity = picture, similarity
        self._change()

    def draw(self, what: str) -> bytes | None:
        """The PNG file of ``plain``, ``sealed`` or ``read``; None where there is none."""
        if what not in self._files:
            kinds = {"plain": self.pixels, "sealed": self.sealed, "read": self.read}
            picture = kinds.get(what)
            if picture is None:
                return None
            self._files[what] = to_png(picture)
        return self._files[what]

    def _change(self) -> None:
        self.version += 1
        self._files.clear()


@dataclass(frozen=True)
class Reading:
    """One attack on everything sent so far. ``guess``: similarity of plain grey."""

    photos: int
    attack: str
    similarity: float
    guess: float


@dataclass(eq=False)
class Trial:
    """What is read of the first ``count`` photos under another setting. ``pictures``: (sealed, read) of some."""

    number: int
    setting: Setting
    count: int
    result: Reading | None = None
    reason: str = ""
    pictures: list[tuple[NDArray[Any], Pixels]] = field(default_factory=list, repr=False)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.result is not None or bool(self.reason)


def describe(error: Exception) -> str:
    """What went wrong, and the way out, in one line."""
    if isinstance(error, CipherlensError):
        return f"{error.args[0]} ({error.hint})" if error.hint else str(error.args[0])
    return f"this failed ({type(error).__name__}: {error})"[:300]
