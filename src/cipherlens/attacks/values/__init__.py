"""What was done to single values: substitution, inversion."""
