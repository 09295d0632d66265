"""One cipher, and an attack that breaks it."""
