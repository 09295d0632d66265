"""What attacks are measured with: truth, controls, scores."""
