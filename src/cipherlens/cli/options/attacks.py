"""Attackers on the command line: what they know, and what they hold."""

from dataclasses import dataclass

from cyclopts import Parameter

from cipherlens.api.attackers import AttackResources
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
class NetworkOptions(AttackResources):
    """The run or the network that an attacker holds."""

    round: OptionalWhole = None
    """adaptation: use the network as it was after so many rounds."""
