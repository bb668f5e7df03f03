"""Packed weights and the kernels that multiply by them, for CUDA devices."""
