"""Experiments that reproduce the published tables and figures."""

from cipherlens.experiments.settings import Settings, list_experiments, read_settings

__all__ = ["Settings", "list_experiments", "read_settings"]
