"""Where pixels and values went: attacks on permutations."""
