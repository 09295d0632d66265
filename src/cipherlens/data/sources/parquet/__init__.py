"""Parquet files as a source: read with limits, because a small file may claim to hold anything."""
