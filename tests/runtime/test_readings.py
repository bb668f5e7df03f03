"""Both readings of the ten tiny models against the logits that transformers computed when the models were created."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from llorch.runtime.loading import load
from llorch.runtime.measure.compare import compare_logits
from tests.runtime.conftest import FORMATS, TINY

READINGS = [(name, format) for name in TINY for format in FORMATS]
EACH = pytest.mark.parametrize("tiny", READINGS, indirect=True, ids="-".join)


def expected(test_data: Path, tiny: Path) -> dict[str, NDArray[np.float32]]:
    """The arrays of logits.npz for the model at this path."""
    name = tiny.parent.name if tiny.suffix == ".gguf" else tiny.name
    with np.load(test_data / "tiny" / name / "logits.npz") as arrays:
        return dict(arrays)


@EACH
@pytest.mark.parametrize("suffix", ["", "_short"], ids=["long", "short"])
def test_logits_are_those_of_transformers(test_data: Path, tiny: Path, suffix: str) -> None:
    arrays = expected(test_data, tiny)
    with load(tiny) as model:
        logits = model.logits(arrays[f"ids{suffix}"].tolist())
    np.testing.assert_allclose(logits.numpy(), arrays[f"logits{suffix}"], rtol=0, atol=1e-4)


@EACH
def test_any_chunks_of_the_prompt_give_the_same_logits(test_data: Path, tiny: Path) -> None:
    ids = expected(test_data, tiny)["ids"].tolist()
    with load(tiny) as model:
        whole = model.logits(ids)
        for chunk in (1, 7, 64):
            assert compare_logits(whole, model.logits(ids, chunk=chunk)).kl_max < 1e-9


@EACH
def test_two_new_tokens_at_once_are_two_single_steps(test_data: Path, tiny: Path) -> None:
    ids = torch.tensor(expected(test_data, tiny)["ids"])
    with load(tiny) as model, torch.inference_mode():
        together, apart = model.new_cache(96), model.new_cache(96)
        for cache in (together, apart):
            model.decoder.hidden(ids[:70], cache)
        two = model.decoder.logits(model.decoder.hidden(ids[70:72], together))
        one = [model.decoder.logits(model.decoder.hidden(ids[i : i + 1], apart)) for i in (70, 71)]
    assert compare_logits(torch.cat(one), two).kl_max < 1e-9


@pytest.mark.parametrize("name", TINY)
def test_the_two_readings_of_a_model_agree(test_data: Path, originals: Path, name: str) -> None:
    with np.load(test_data / "tiny" / name / "logits.npz") as arrays:
        ids = arrays["ids"].tolist()
    with load(test_data / "tiny" / name / "f32.gguf") as ggml, load(originals / name) as transformers:
        assert compare_logits(transformers.logits(ids), ggml.logits(ids)).kl_max < 1e-10


@pytest.mark.parametrize("name", TINY)
def test_dequantizing_in_tiles_gives_the_logits_of_kept_weights(test_data: Path, name: str) -> None:
    path = test_data / "tiny" / name / "q4_k_m.gguf"
    with np.load(test_data / "tiny" / name / "logits.npz") as arrays:
        ids = arrays["ids"].tolist()
    with load(path) as kept, load(path, dequantized_bytes=0) as tiled:
        assert kept.numbers.keep
        assert not tiled.numbers.keep
        assert compare_logits(kept.logits(ids), tiled.logits(ids)).kl_max < 1e-10


def test_a_sequence_planned_long_takes_the_long_factors_from_its_first_token(
    test_data: Path, originals: Path
) -> None:
    with np.load(test_data / "tiny" / "phi3" / "logits.npz") as arrays:
        ids, long = arrays["ids"].tolist(), arrays["logits"]
    for path in (test_data / "tiny" / "phi3" / "f32.gguf", originals / "phi3"):
        with load(path) as model:
            beginning = model.logits(ids[:40], planned=96)
            np.testing.assert_allclose(beginning.numpy(), long[:40], rtol=0, atol=1e-4)
            assert compare_logits(model.logits(ids[:40]), beginning).kl_mean > 1e-3


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_float64_differs_from_float32_by_rounding_only(test_data: Path, name: str) -> None:
    path = test_data / "tiny" / name / "f32.gguf"
    with np.load(test_data / "tiny" / name / "logits.npz") as arrays:
        ids = arrays["ids"].tolist()
    with load(path) as single, load(path, dtype="float64") as double:
        assert 0 < abs(compare_logits(double.logits(ids), single.logits(ids)).kl_max) < 1e-10
