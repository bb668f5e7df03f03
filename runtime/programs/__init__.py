"""Layers as programs of kernels: what is known, and what each part is as steps."""
