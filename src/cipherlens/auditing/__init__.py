"""Measuring what leaks: metrics, records, and the report that people read."""
