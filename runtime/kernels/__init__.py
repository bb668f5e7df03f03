"""Kernels that multiply packed weights with activations, one package per kind of processor."""
