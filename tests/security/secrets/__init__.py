"""Where a key can hide: its bytes, subkeys and tables in any encoding, searched in whatever a story leaves."""
