"""A hub on loopback, and an empty folder to fetch into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest

from tests.hub.fixtures import hub, hub_servers

__all__ = ["hub", "hub_servers"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where files are fetched to; not there yet."""
    return tmp_path / "models"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses before another try are noted and not made, ours and huggingface_hub's."""
    paused: list[float] = []
    monkeypatch.setattr("time.sleep", paused.append)
    return paused


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the download of one file end as Ctrl-C ends it; of none if the name is empty."""
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
