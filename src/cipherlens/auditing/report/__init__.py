"""The audit's report: words, figures, page."""
