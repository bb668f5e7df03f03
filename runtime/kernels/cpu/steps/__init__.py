"""Kernels of what lies between products, and what they are made of."""
