"""Images on the command line: how files become pixels, and which of them are taken."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter

from cipherlens.cli.options.types import IMAGES, SELECTION, Flag, OptionalWhole, Whole, parse_whole
from cipherlens.data.conversion import Rules
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.data.images import Preprocess

MaxPixels = Annotated[int, Parameter(name="--max-pixels", converter=parse_whole, group=IMAGES)]


@Parameter(name="*", group=IMAGES)
@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How image files become pixels."""

    size: OptionalWhole = None
    """Resize the shorter side to this and cut out the centre square."""
    channels: Literal[1, 3] = 3
    """1 keeps grey images grey; colours become their luminance."""
    window: str | None = None
    """How images of more than 8 bits become 8, which are refused without: LOW:HIGH (0:65535 for all 16 bits),
    minmax or percentile (1 to 99) of each image."""
    max_pixels: MaxPixels = MAX_PIXELS
    """Most pixels of a picture; a larger one is refused."""

    def prepare(self, pad: bool = False) -> Preprocess:
        """What is done to each image; ``pad`` fills its sides up to multiples of the block."""
        return Preprocess(self.size, pad, self.max_pixels, Rules(self.channels, self.window))


@Parameter(name="*", group=SELECTION)
@dataclass(frozen=True, kw_only=True)
class SelectionOptions:
    """Which images of a source are sealed."""

    split: list[str] | None = None
    """Seal only this split; may be repeated."""
    classes: str | None = None
    """Seal only these classes: names or ranges of positions (0-4), separated by commas, or @FILE of such."""
    limit: OptionalWhole = None
    """Seal at most this many images of each split, evenly spread (their variants not counted)."""
    hold_out: OptionalWhole = None
    """Of a source with classes and no splits, every so many images of each class become the test split; every fifth
    by default, 0 for none."""
    augment: Whole = 0
    """Add so many variants (mirrored, shifted) of each training image, made before encryption."""
    on_error: Literal["stop", "skip"] = "stop"
    """What to do with an image that cannot be used."""
    keep_names: Flag = False
    """Store the originals' file names in the sealed data set, readable by everybody."""
