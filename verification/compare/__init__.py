"""Comparison with the original model: its config.json."""
