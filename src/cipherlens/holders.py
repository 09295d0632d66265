"""Who may hold an artefact: part of its own metadata, and shown by ``cipherlens inspect``."""

from typing import Literal

Holder = Literal["anybody", "provider", "client only"]
"""``provider``: whoever may learn what the artefact gives away. ``client only``: it shows or decrypts pictures."""
ANYBODY: Holder = "anybody"
PROVIDER: Holder = "provider"
CLIENT: Holder = "client only"
FIELD = "who_may_hold_it"
"""The name of this field in JSON files, key files and the metadata of maps."""


def choose_holder(can_decrypt: bool) -> Holder:
    """Who may hold a trained model: the client only, where it can decrypt."""
    return CLIENT if can_decrypt else PROVIDER
