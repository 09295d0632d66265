"""Keyed models: networks for encrypted images, locked (any CNN) or folded (patch embeddings)."""

from cipherlens.keyed.fold import fold
from cipherlens.keyed.lock import FeatureMap, LockedModel, lock

__all__ = ["FeatureMap", "LockedModel", "fold", "lock"]
