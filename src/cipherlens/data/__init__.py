"""Sources of plain images, and sealed data sets."""
