"""The transports: a hub, the hub's cache when offline, and a URL."""
