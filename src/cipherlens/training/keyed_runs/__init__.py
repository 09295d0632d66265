"""Runs that hold a key: locked and folded."""
