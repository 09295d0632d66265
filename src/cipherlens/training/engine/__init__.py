"""The training loop: batches, epochs, rounds, the optimizer."""
