"""Sealing on a cluster with Ray: the same shards and manifest as on one machine."""
