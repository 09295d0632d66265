"""Tests of cipherlens.api: in Python what the commands do."""
