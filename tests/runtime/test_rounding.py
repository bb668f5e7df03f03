"""A GGUF whose weights are rounded once computes what a folder of that type computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llorch.runtime.loading import load
from llorch.runtime.measure.compare import compare_logits


@pytest.mark.parametrize("rounded", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "qwen2moe"])
def test_rounded_blocks_equal_a_rounded_folder(
    test_data: Path, originals: Path, tmp_path: Path, name: str, rounded: str
) -> None:
    """The originals are bfloat16 values, so rounding only has an effect for float16."""
    folder = Path(shutil.copytree(originals / name, tmp_path / name))
    narrow = {n: t.to(getattr(torch, rounded)) for n, t in load_file(folder / "model.safetensors").items()}
    save_file(narrow, folder / "model.safetensors")
    with np.load(test_data / "tiny" / name / "logits.npz") as arrays:
        ids = arrays["ids"].tolist()
    path = test_data / "tiny" / name / "f32.gguf"
    with load(path, rounded=rounded) as ggml, load(folder) as transformers:  # type: ignore[arg-type]
        assert compare_logits(transformers.logits(ids), ggml.logits(ids)).kl_max < 1e-10


def test_a_folder_is_not_rounded(originals: Path) -> None:
    with pytest.raises(ValueError, match="rounded is for GGUF files"):
        load(originals / "llama", rounded="bfloat16")


@pytest.mark.parametrize(("field", "value"), [("dtype", "bfloat16"), ("rounded", "int8")])
def test_an_unsupported_type_is_named(test_data: Path, field: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is '{value}', expected one of"):
        load(test_data / "tiny" / "llama" / "f32.gguf", **{field: value})  # type: ignore[arg-type]
