"""repr(model) says what it is."""

from __future__ import annotations

from pathlib import Path

from llorch.runtime import load
from tests.models.tiny import tiny_llama


def test_a_models_repr_has_file_format_size_and_arithmetic(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().build())
    assert repr(load(path)) == "<llorch model tiny.gguf: gguf, 1 layers of 32, 128 positions, exact on cpu>"
