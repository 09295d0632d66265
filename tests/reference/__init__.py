"""Slow, plain-Python second implementations: what the library is checked against."""
