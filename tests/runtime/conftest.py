"""Tiny models in both formats, created once for all tests of the room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.runtime.originals import write_original

TINY = ("llama", "mistral", "mixtral", "phi2", "phi3", "qwen2", "qwen3", "qwen2moe", "gemma2", "gemma3")
FORMATS = ("gguf", "folder")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Limit torch to one thread: when tests run side by side, its threads would wait for each other's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def originals(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the original folders of all tiny models."""
    root = tmp_path_factory.mktemp("originals")
    for name in TINY:
        write_original(test_data / "tiny" / name, root / name)
    return root


@pytest.fixture
def tiny(request: pytest.FixtureRequest, test_data: Path) -> Path:
    """The path of the tiny model that a test is parametrized with, as (name, format)."""
    name, format = request.param
    if format == "gguf":
        return test_data / "tiny" / str(name) / "f32.gguf"
    originals: Path = request.getfixturevalue("originals")
    return originals / str(name)
