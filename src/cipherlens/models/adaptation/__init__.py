"""Adaptation networks, which precede a classifier of encrypted images."""
