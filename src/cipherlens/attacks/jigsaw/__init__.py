"""The jigsaw attack, which reassembles blocks by their edges, and its parts."""
