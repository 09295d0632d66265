"""Sealed data sets: write, read, decrypt."""
