"""What the desk shows: photos with all that became of them, the curve of what was read, and trials."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from cipherlens.desk.pictures import Pixels
from cipherlens.desk.setting import Setting


@dataclass(eq=False)
class Photo:
    """One photo: as it is, as it was sealed and sent, the provider's answer, what the eavesdropper made of it.

    ``choice``: number of the choice of key and setting under which it was sealed. ``answer``: classes with their
    probabilities, the highest first. ``similarity``: SSIM of ``read``.
    """

    number: int
    name: str
    prepared: Pixels = field(repr=False)
    pixels: Pixels = field(repr=False)
    sealed: NDArray[Any] = field(repr=False)
    choice: int = 0
    answer: list[tuple[str, float]] = field(default_factory=list)
    read: Pixels | None = field(default=None, repr=False)
    similarity: float | None = None
    version: int = 0
    """Grows with each change of its pictures."""

    def seal_again(self, pixels: Pixels, sealed: NDArray[Any], choice: int) -> None:
        """Take another choice's pixels and ciphertext; what was known of the old one is forgotten."""
        self.pixels, self.sealed, self.choice = pixels, sealed, choice
        self.answer, self.read, self.similarity = [], None, None
        self.version += 1

    def show_read(self, picture: Pixels, similarity: float) -> None:
        """Take what the eavesdropper reads of it now."""
        self.read, self.similarity = picture, similarity
        self.version += 1


@dataclass(frozen=True)
class Reading:
    """One attack on everything sent so far. ``guess``: similarity of plain grey."""

    photos: int
    attack: str
    similarity: float
    guess: float
    seconds: float


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
