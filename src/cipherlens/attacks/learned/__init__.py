"""Networks that learn to decrypt."""
