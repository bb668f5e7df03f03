"""Layers compiled to programs of CPU kernels: which models are supported, and the steps of each part."""
