"""Attacks that use a model: a classifier's front end, keyed models, a public network."""
