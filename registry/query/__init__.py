"""Queries of a registry, one module each."""
