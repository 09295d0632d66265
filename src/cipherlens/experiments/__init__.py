"""The published tables and figures, as experiments that anybody can run again."""

from cipherlens.experiments.settings import Settings, list_experiments, read_settings

__all__ = ["Settings", "list_experiments", "read_settings"]
