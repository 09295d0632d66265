"""Functions that combine several packages, such as training that starts from the result of an attack."""
