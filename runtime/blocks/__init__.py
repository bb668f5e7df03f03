"""The blocks of a decoder layer: linear layers, attention, RoPE, norms, experts, recurrences and the cache."""
