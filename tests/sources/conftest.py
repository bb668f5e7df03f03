"""A hub on loopback, and an empty folder to download into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from tests.hub.fixtures import hub, hub_servers

__all__ = ["hub", "hub_servers"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The destination folder, which does not exist yet."""
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses before retries, ours and huggingface_hub's, instead of making them."""
    paused: list[float] = []
    monkeypatch.setattr("time.sleep", paused.append)
    return paused


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Interrupt the download of one file as Ctrl-C does; of none if the name is empty."""
    names: list[str] = [""]
    download = huggingface_hub.hf_hub_download

    def until(repository: str, filename: str, **options: object) -> object:
        if filename == names[0]:
            raise KeyboardInterrupt
        return download(repository, filename, **options)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", until)

    def set_name(name: str) -> None:
        names[0] = name

    return set_name
