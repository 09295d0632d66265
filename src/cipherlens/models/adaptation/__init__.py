"""Adaptation networks: what stands in front of a classifier of encrypted images."""
