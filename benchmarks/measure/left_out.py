"""Measurements leave out what was measured on the attacked origin."""

from pathlib import Path

from cipherlens.attacks.covariance.measured import ORIGINS


def list_other_origins(source: str) -> list[str]:
    """The origins of measured priors, without that of a source such as DIR/imagenette-224."""
    return [origin for origin in ORIGINS if not Path(source).name.lower().startswith(origin)]
