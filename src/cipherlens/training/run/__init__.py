"""Run folders: written and read."""
