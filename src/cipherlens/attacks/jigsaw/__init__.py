"""Blocks put together by their edges: the jigsaw attack and its parts."""
