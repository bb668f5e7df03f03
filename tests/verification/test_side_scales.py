"""NVFP4 with scale tensors: passes, and a scale that one side omits is found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llorch import converter
from llorch.converter.plan import weight_scales as side_scales
from llorch.runtime.from_gguf import source as source_of_gguf
from llorch.verification import verify
from llorch.verification.report import Report, Status
from tests.models.gguf_writer import Model
from tests.models.nvfp4 import scaled_fused_llama, scaled_llama, scaled_mixture

MODELS = [scaled_llama, scaled_fused_llama, scaled_mixture]


def failed(report: Report) -> set[str]:
    return {result.name for result in report.results if result.status is Status.FAILED}


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize("made", MODELS, ids=lambda made: made.__name__)
def test_a_conversion_of_it_passes_every_check(made: Callable[[], Model], dtype: str, tmp_path: Path) -> None:
    source = made().write(tmp_path / "in.gguf")
    converter.convert(source, tmp_path / "made", dtype=dtype)
    report = verify(tmp_path / "made", source, level="full")
    assert report.outcome == "PASSED", report.sentence


@pytest.mark.parametrize("made", MODELS, ids=lambda made: made.__name__)
def test_a_converter_that_leaves_scales_out_is_found_by_the_other_reading(
    made: Callable[[], Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_scales.Scale, "times", lambda _, weights: weights)
    source = made().write(tmp_path / "in.gguf")
    converter.convert(source, tmp_path / "made")
    report = verify(tmp_path / "made", source, level="full")
    assert "logits.mean" in failed(report)
    assert "round_trip" not in failed(report)  # which is the converter's own and believes it


def test_a_scale_left_out_of_one_written_tensor_is_found_by_the_round_trip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = scaled_mixture().write(tmp_path / "in.gguf")
    with monkeypatch.context() as planted:
        right = side_scales.Scale.times
        planted.setattr(
            side_scales.Scale,
            "times",
            lambda self, rows: rows if self.tensor.name == "blk.1.attn_v.scale" else right(self, rows),
        )
        converter.convert(source, tmp_path / "made")
    report = verify(tmp_path / "made", source, level="full")
    assert {"round_trip", "logits.mean"} <= failed(report)


def test_a_reading_of_the_gguf_that_leaves_scales_out_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = scaled_llama().write(tmp_path / "in.gguf")
    converter.convert(source, tmp_path / "made")
    monkeypatch.setattr(source_of_gguf.Source, "scales", lambda *_: None)
    assert "logits.mean" in failed(verify(tmp_path / "made", source, level="full"))
