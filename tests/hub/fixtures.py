"""pytest fixtures of the hub. A room's `conftest.py` has `from tests.hub.fixtures import hub, hub_servers`."""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.hub import FOREIGN, Hub
from tests.hub.server import Servers, running

__all__ = ["hub", "hub_servers"]


@pytest.fixture(scope="session")
def hub_servers() -> Iterator[Servers]:
    """The running servers, shared by all tests."""
    with running() as servers:
        yield servers


@pytest.fixture
def hub(hub_servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, at HF_ENDPOINT for huggingface_hub in this process, with an empty cache and no token."""
    made = hub_servers.new_hub(tmp_path / "hf-home")
    for name in [name for name in os.environ if name.upper().startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    point_at_environment(monkeypatch)
    yield made
    end_connections()


def point_at_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Update huggingface_hub as if it had been imported with the current environment.

    Its constants are read once, at its import; some modules have copies of them.
    """
    from huggingface_hub import constants, hf_api
    from huggingface_hub.utils import _http

    end_connections()
    for name, value in runpy.run_path(constants.__file__).items():
        if name.isupper() and getattr(constants, name) != value:
            monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", constants.ENDPOINT)
    monkeypatch.setattr(_http, "_HUB_ORIGINS", _http._HUB_ORIGINS | {_http._url_origin(constants.ENDPOINT)})


def end_connections() -> None:
    """Close huggingface_hub's open connections, so that the next test has its own."""
    from huggingface_hub import close_session

    close_session()
