"""Data sets of Python as sources."""
