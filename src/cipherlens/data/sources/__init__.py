"""Where plain images come from."""
