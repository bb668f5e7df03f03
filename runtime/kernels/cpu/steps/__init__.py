"""Kernels for everything between products: attention, norms, RoPE, recurrences, routing."""
