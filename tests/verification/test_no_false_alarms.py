"""Correct conversions of every tiny model, exact and quantized, in each written type, pass at both levels."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch import converter
from llorch.verification import verify
from tests.families import FAMILIES
from tests.verification.planting import DEVICE
from tests.verification.test_architectures import MODELS

FIXTURES = [*(f"tiny/{model}" for model in MODELS), *(f"families/{model}" for model in FAMILIES)]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("file", ["f32", "q4_k_m"])
@pytest.mark.parametrize("model", FIXTURES)
def test_a_right_conversion_passes(
    model: str, file: str, dtype: str, test_data: Path, tmp_path: Path
) -> None:
    source = test_data / model / f"{file}.gguf"
    converter.convert(source, tmp_path / "made", dtype=dtype)
    for level in ("quick", "full"):
        report = verify(tmp_path / "made", source, level=level, device=DEVICE)
        assert report.outcome == "PASSED", (level, report.sentence)
        assert not [result for result in report.results if result.status == "WARNED"]
