"""How a model is trained: batches, epochs, rounds, the optimizer."""
