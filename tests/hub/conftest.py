"""The hub's fixtures for its own tests."""

from tests.hub.fixtures import hub, hub_servers

__all__ = ["hub", "hub_servers"]
