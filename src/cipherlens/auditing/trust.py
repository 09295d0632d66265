"""What failed controls mean: which figures are lower bounds, and which do not count."""

from collections.abc import Iterable, Sequence

from cipherlens.auditing.wording import Record, list_words


def find_failed(controls: Iterable[Record], control: str) -> set[str]:
    """The attacks that failed this control."""
    return {row["attack"] for row in controls if row["control"] == control and not row["passed"]}


def find_struck(controls: Iterable[Record]) -> set[str]:
    """Attacks whose figures do not count: they scored above guessing on real encryption, which nobody reads."""
    return find_failed(controls, "stream")


def find_bounded(controls: Sequence[Record]) -> set[str]:
    """Attacks whose figures are lower bounds: pictures that were not encrypted did not come back whole either."""
    return find_failed(controls, "identity") - find_struck(controls)


def list_counted(attacks: Iterable[Record], controls: Iterable[Record]) -> list[Record]:
    """The attacks whose figures count."""
    struck = find_struck(controls)
    return [attack for attack in attacks if attack["attack"] not in struck]


def control_words(controls: Sequence[Record]) -> str:
    """What failed controls mean, in a sentence each; nothing where none failed."""
    said = []
    if bounded := sorted(find_bounded(controls)):
        said.append(
            f"More may be readable than was read here: with as little material {list_words(bounded)} did not give "
            "back pictures that were not encrypted at all either."
        )
    if struck := sorted(find_struck(controls)):
        said.append(
            f"Not counted: {list_words(struck)}, which scored above guessing on real encryption. That is a fault "
            "of this audit."
        )
    return " ".join(said)
