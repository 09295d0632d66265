"""The ciphers, one file for each family."""
