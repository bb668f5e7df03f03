"""How a command records what it did in the registry."""
