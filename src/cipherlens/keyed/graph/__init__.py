"""Networks as graphs, and the propagation of position orders in them."""
