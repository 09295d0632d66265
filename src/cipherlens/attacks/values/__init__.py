"""Attacks on changes of single values: substitution, inversion."""
