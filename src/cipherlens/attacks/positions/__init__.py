"""Attacks on permutations of pixels and values."""
