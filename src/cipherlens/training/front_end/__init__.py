"""Front ends: adaptation networks that start from a map which already reads the images."""
