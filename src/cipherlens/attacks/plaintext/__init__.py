"""Attacks with known or chosen plain images."""
