"""Attackers on the command line: what they know, and what they hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cyclopts import Parameter

from cipherlens.cli.options.images import MaxPixels
from cipherlens.cli.options.types import ATTACKER, NETWORKS, OptionalWhole, Whole
from cipherlens.data.decoding import MAX_PIXELS
from cipherlens.errors import UsageError


@Parameter(name="*", group=ATTACKER)
@dataclass(frozen=True, kw_only=True)
class AttackerOptions:
    """What an attacker knows."""

    prior: str = "plain"
    """Public images the attacker has: "plain" for other images of the same source, never the attacked ones;
    "parametric" for none; or any source."""
    split: str | None = None
    """The split that is attacked; the test images by default, or the larger part where they were held out."""
    budget: OptionalWhole = None
    """Ciphertexts the attacker sees, pairs it knows, or pictures it may have encrypted; audit: images attacked."""
    seed: Whole = 0
    """Decides the attack's random numbers."""
    max_pixels: MaxPixels = MAX_PIXELS
    """Most pixels of a picture; a larger one is refused."""

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise UsageError("a budget is at least 1", hint="leave it away for the default")


@Parameter(name="*", group=NETWORKS)
@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The run or the network that an attacker holds."""

    run: Path | None = None
    """Run folder for this sealed data. adaptation: of a classifier with an adaptation network; locked-model,
    folded-model: of the keyed model."""
    round: OptionalWhole = None
    """adaptation: use the network as it was after so many rounds."""
    public: Path | None = None
    """folded-model: run folder of the plain network that was folded. batchnorm-match: run folder of a network on
    plain images, or a timm model."""
    weights: Path | None = None
    """batchnorm-match: weights of the timm model from a local file, instead of over the network."""
    start: Literal["random", "whitened", "ciphertexts"] | None = None
    """batchnorm-match: the map that it changes: that of covariance (ciphertexts, the default), whitened blocks, or
    these behind a random rotation."""
