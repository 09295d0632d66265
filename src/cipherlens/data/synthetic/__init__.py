"""Generated images with natural statistics."""
