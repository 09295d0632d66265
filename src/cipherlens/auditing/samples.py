"""The pictures that a report shows: the same few images for all attacks, and those that were read best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cipherlens.attacks.base import to_unit
from cipherlens.auditing.jobs import Outcome
from cipherlens.auditing.wording import Record, title_words
from cipherlens.evaluation.target import Target


@dataclass(frozen=True)
class PictureRow:
    """One image of the report: ``plain`` uint8 (C, H, W), ``ct`` (C, H', W') as sealed, reconstructions by title.

    Reconstructions are (C, H, W) floats in [0, 1]; values outside are clipped.
    """

    plain: NDArray[np.uint8]
    ct: NDArray[Any]
    reconstructions: Mapping[str, NDArray[np.float32]]


def pick_pictures(target: Target, outcomes: Sequence[Outcome], worst: Iterable[Record]) -> tuple[PictureRow, ...]:
    """The same few images for every attack at its largest budget, and for the worst case of each threat model."""
    pictures = {title_words(record): outcome.pictures for record, outcome in _list_done(outcomes)}
    # Budgets grow, so that the last of an attack is the largest.
    largest = {(record["attack"], record.get("knowledge")): record for record, _ in _list_done(outcomes)}
    titles = list(dict.fromkeys(map(title_words, [*largest.values(), *worst])))
    return tuple(
        PictureRow(
            target.plain[image],
            target.ct[image],
            {title: to_unit(pictures[title][image]) for title in titles if image in pictures[title]},
        )
        for image in sorted({image for title in titles for image in pictures[title]})
    )


def pick_exposed(target: Target, outcomes: Sequence[Outcome], worst: Iterable[Record]) -> tuple[PictureRow, ...]:
    """For the worst case of each threat model the images that it read best, the best first."""
    exposed = {title_words(record): outcome.exposed for record, outcome in _list_done(outcomes)}
    return tuple(
        PictureRow(target.plain[image], target.ct[image], {title: to_unit(picture)})
        for title in map(title_words, worst)
        for image, picture in exposed[title].items()
    )


def _list_done(outcomes: Sequence[Outcome]) -> list[tuple[Record, Outcome]]:
    return [(done.evaluation.to_json(), done) for done in outcomes if done.evaluation is not None]
