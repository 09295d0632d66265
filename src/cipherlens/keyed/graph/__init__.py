"""A network as a graph, and orders of positions along it."""
