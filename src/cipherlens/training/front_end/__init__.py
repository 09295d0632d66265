"""Front ends: adaptation networks that start from a map that reads the images."""
