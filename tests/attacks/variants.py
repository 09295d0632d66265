"""Attacks that differ from a real one in what they do."""

from typing import Any

from cipherlens.attacks import Attack


def change(attack: Attack, function: Any, **attributes: Any) -> Attack:
    """The same attack, but it runs ``function(view)``."""
    members = {"run": lambda self, view: function(view), **attributes}
    return type("Variant", (type(attack),), members)()
