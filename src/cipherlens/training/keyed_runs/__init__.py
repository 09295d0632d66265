"""Runs for a key: locked and folded."""
