"""Evaluation of attacks: targets, controls, scores."""
