"""Synthetic images with the statistics of natural images."""
