"""Questions to a registry, each answered by one module."""
