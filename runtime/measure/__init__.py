"""Measurements: differences between logits, perplexity, speed, and a soak test."""
