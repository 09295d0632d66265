"""Mutated inputs to whatever reads a file: ``python -m tests.security.fuzz --inputs 100000 --cli 1000``.

What must hold: no crash (traceback, hang, signal, memory, child process, network), no wrong exit code, and no
altered data or other key accepted: with the key none at all, without it none whose checksums were not recomputed.

Every input follows from (seed, target, number), so that ``--repeat TARGET:NUMBER`` makes just that one again.
"""
