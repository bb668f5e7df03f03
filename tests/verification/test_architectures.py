"""Models of every architecture, written by llama.cpp's converter, pass every check."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch import converter
from llorch.verification import verify

MODELS = ["llama", "mistral", "mixtral", "phi2", "phi3", "qwen2", "qwen3", "qwen2moe", "gemma2", "gemma3"]


@pytest.mark.parametrize("file", ["f32", "q4_k_m"])
@pytest.mark.parametrize("model", MODELS)
def test_a_conversion_of_it_passes_every_check(
    model: str, file: str, test_data: Path, tmp_path: Path
) -> None:
    source = test_data / "tiny" / model / f"{file}.gguf"
    converter.convert(source, tmp_path / "made")
    report = verify(tmp_path / "made", source, level="full")
    assert report.outcome == "PASSED", report.sentence
