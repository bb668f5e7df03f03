"""A model in the memory of a CUDA device: its matrices, one decode step as a graph, and the sessions that use it."""
