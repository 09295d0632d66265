"""Names of the Open Inference Protocol v2 that servers, clients and exported models share."""

LENGTH_HEADER = "Inference-Header-Content-Length"
"""The header that says how long the JSON in front of binary tensors is."""
IMAGES, LOGITS, PROBABILITIES = "images", "logits", "probabilities"
"""The input of every model, and its outputs."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Hosts that are this machine: nobody reads that line."""
