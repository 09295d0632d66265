"""Types of options, and the named groups in which help shows them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Group, Parameter, Token

from cipherlens.data.storage.url import Place, as_place
from cipherlens.errors import UsageError

_URL = re.compile(r"[a-z][a-z0-9+.-]+:/(?!/)", re.IGNORECASE)
"""A URL as a path shows it: with one slash. A letter alone before the colon is a drive of Windows."""


def parse_whole(_: object, tokens: Sequence[Token]) -> int:
    """A whole number, written as one: 2.5 is refused, not rounded."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value} is not a whole number") from None


def parse_place(_: object, tokens: Sequence[Token]) -> Place:
    """A path or a URL."""
    return as_place(tokens[0].value)


def refuse_url(_: object, value: object) -> None:
    """Raise UsageError for a URL where a path is wanted: it would become a folder of an odd name here."""
    if isinstance(value, Path) and _URL.match(str(value)):
        raise UsageError(
            f"{value} is a URL, and this has to be a path of this machine",
            hint="only sources and sealed data sets may lie in object storage",
        )


Whole = Annotated[int, Parameter(converter=parse_whole)]
OptionalWhole = Annotated[int | None, Parameter(converter=parse_whole)]
SealedSet = Annotated[Place, Parameter(converter=parse_place, accepts_keys=False)]
"""A sealed data set, in a folder or at a URL."""
OptionalSealedSet = Annotated[Place | None, Parameter(converter=parse_place, accepts_keys=False)]
Flag = Annotated[bool, Parameter(negative="", show_default=False)]
Json = Annotated[
    bool, Parameter(name="--json", negative="", show_default=False, help="Print one JSON object on stdout.")
]
Discard = Annotated[
    bool,
    Parameter(
        name="--discard",
        negative="",
        show_default=False,
        help="Only remove what a killed run left (unfinished results, perhaps plain pictures), and say what.",
    ),
]

# In the order in which help shows them, below what only one command has.
KEY = Group.create_ordered("Key", help="The client's secret; who holds it can decrypt.")
CIPHER = Group.create_ordered("Cipher", help="What hides the images.")
IMAGES = Group.create_ordered("Images", help="How image files become pixels.")
SELECTION = Group.create_ordered("Selection", help="Which images are taken, and which of them are for testing.")
MODEL = Group.create_ordered("Model", help="The network, and the weights that it starts from.")
TRAINING = Group.create_ordered("Training", help="How weights are found. What is left away comes from the model.")
PICTURES = Group.create_ordered("Pictures", help="Where the model sees pictures: plain, or read by a front end.")
FRONT_END = Group.create_ordered("Front end", help="The adaptation network that is put before the model.")
LOCK = Group.create_ordered("Locked model", help="With --key, on pixel-permutation images.")
ATTACKER = Group.create_ordered("Attacker", help="What the attacker knows and has.")
NETWORKS = Group.create_ordered("Networks", help="For attacks that hold a model or a network.")
WORK = Group.create_ordered("Work", help="How the work is done.")
