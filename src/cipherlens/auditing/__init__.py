"""The audit: attacks with controls, thresholds, and the report."""
