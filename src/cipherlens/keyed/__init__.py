"""Keyed models: convolutional networks that work on permuted images."""

from cipherlens.keyed.lock import FeatureMap, LockedModel, lock

__all__ = ["FeatureMap", "LockedModel", "lock"]
