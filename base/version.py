"""The version of llorch."""

__version__ = "0.1.0"
