"""Products of packed weights with activations, a room a kind of processor."""
