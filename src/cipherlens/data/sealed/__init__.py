"""Sealed data sets: written, read, undone."""
