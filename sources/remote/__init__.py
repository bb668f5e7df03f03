"""Transports: a hub, its cache, a URL."""
