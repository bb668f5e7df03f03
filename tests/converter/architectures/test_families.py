"""The families' tiny models: the original's tensors bit for bit, and its logits when transformers runs our folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from safetensors.numpy import save_file

from llorch.converter import convert
from llorch.converter.plan.config import with_dtype
from llorch.converter.plan.dtype import DType
from llorch.converter.plan.plan import Plan
from llorch.formats import read_safetensors
from llorch.formats.gguf import TensorData
from tests.converter.architectures.test_architectures import MOST_ERROR
from tests.converter.executed import executed, plan_of
from tests.families import FAMILIES, as_bfloat16, digest, expected_tensors, logits_of

EACH = pytest.mark.parametrize("name", FAMILIES)


def inexact(planned: Plan) -> set[str]:
    """Outputs that only approximate the original's float32 bits."""
    return {o.name for o in planned.outputs if any(s.operation and not s.operation.exact for s in o.segments)}


@EACH
def test_the_originals_tensors_come_back_bit_for_bit(name: str, test_data: Path) -> None:
    folder = test_data / "families" / name
    planned = plan_of(folder / "f32.gguf")
    found = executed(folder / "f32.gguf", planned)
    near = inexact(planned)
    digests = {n: digest(as_bfloat16(w) if n in near else w) for n, w in found.items()}
    assert digests == expected_tensors(folder)


@EACH
def test_a_logarithm_is_as_near_as_the_exponential_in_the_file_lets_it_be(name: str, test_data: Path) -> None:
    """Half a unit of the exponential, which is as much of the logarithm, and half a unit of the logarithm itself."""
    folder = test_data / "families" / name
    planned = plan_of(folder / "f32.gguf")
    found = executed(folder / "f32.gguf", planned)
    for tensor in inexact(planned):
        exact = as_bfloat16(found[tensor])
        apart = np.abs(found[tensor].astype(np.float64) - exact)
        assert np.all(apart <= 2.0**-24 + np.spacing(np.abs(exact)).astype(np.float64) / 2)


@EACH
def test_what_is_written_is_the_original_in_its_own_type(name: str, test_data: Path, tmp_path: Path) -> None:
    """Through the pipeline, with pieces, threads, spread and transposed regions; every weight is a bfloat16."""
    folder = test_data / "families" / name
    conversion = convert(folder / "f32.gguf", tmp_path / "out", threads=2)
    assert conversion.dtype == "bfloat16"
    stored = read_safetensors(tmp_path / "out")
    found = {}
    with TensorData(stored) as data:
        for tensor in stored.tensors.values():
            raw = data.read(tensor)
            wide = (
                (raw.view("<u2").astype(np.uint32) << 16).view(np.float32) if tensor.dtype == "BF16" else None
            )
            found[tensor.name] = digest((raw.view("<f4") if wide is None else wide).reshape(tensor.shape))
    assert found == expected_tensors(folder)
    kept = {t.name for t in stored.tensors.values() if t.dtype == "F32"}
    # Apertus' ε is 10⁻⁶ in float32, which no bfloat16 is
    assert kept == {n for n in found if n.endswith(("correction_bias", "expert_bias", "act_fn.eps"))}


@EACH
def test_transformers_computes_the_originals_logits(name: str, test_data: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    source = test_data / "families" / name / "f32.gguf"
    planned = plan_of(source)
    near, tensors = inexact(planned), executed(source, planned)
    written = {n: as_bfloat16(w) if n in near else w for n, w in tensors.items()}
    (tmp_path / "config.json").write_text(json.dumps(with_dtype(planned.config, DType.F32)))
    save_file(written, tmp_path / "model.safetensors", metadata={"format": "pt"})
    # the Auto class does not know all of them
    (class_name,) = cast("list[str]", planned.config["architectures"])
    model = getattr(transformers, class_name).from_pretrained(tmp_path, attn_implementation="eager").eval()
    for ids, logits in logits_of(source.parent):
        with torch.no_grad():
            found = model(torch.from_numpy(ids)[None], use_cache=False).logits[0].numpy()
        assert np.abs(found - logits).max() < 1e-4


@EACH
def test_a_quantized_file_differs_by_its_types_error(name: str, test_data: Path) -> None:
    exact, quantized = (test_data / "families" / name / f"{kind}.gguf" for kind in ("f32", "q4_k_m"))
    planned = plan_of(quantized)
    expected, found = executed(exact, plan_of(exact)), executed(quantized, planned)
    assert found.keys() == expected.keys()
    for output in planned.outputs:
        error = np.linalg.norm(found[output.name] - expected[output.name])
        allowed = max(MOST_ERROR[segment.source.type.name] for segment in output.segments)
        # a tenth more than for the larger models there: with so few weights the noise is not yet near its mean
        assert error <= 1.1 * allowed * np.linalg.norm(expected[output.name]), output.name
