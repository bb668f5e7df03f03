"""The families' tiny models, exact and quantized, judged right by every check."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch import converter
from llorch.verification import verify
from tests.families import FAMILIES


@pytest.mark.slow
@pytest.mark.parametrize("file", ["f32", "q4_k_m"])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_conversion_of_a_family_passes_every_check(
    name: str, file: str, test_data: Path, tmp_path: Path
) -> None:
    source = test_data / "families" / name / f"{file}.gguf"
    converter.convert(source, tmp_path / "made")
    report = verify(tmp_path / "made", source, level="full")
    assert report.outcome == "PASSED", report.sentence
