"""A provider's server: answers on sealed images over the Open Inference Protocol v2."""
