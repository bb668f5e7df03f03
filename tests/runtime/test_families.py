"""The families' tiny models: both readings compute transformers' logits, in one piece and in several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from llorch.converter import convert
from llorch.runtime import load
from tests.families import FAMILIES, logits_of

EACH = pytest.mark.parametrize("name", FAMILIES)


@EACH
def test_the_gguf_is_read_as_the_original(name: str, test_data: Path) -> None:
    folder = test_data / "families" / name
    with load(folder / "f32.gguf") as model:
        for ids, logits in logits_of(folder):
            assert np.abs(model.logits(ids.tolist()).numpy() - logits).max() < 1e-4


@EACH
def test_the_folder_is_read_as_the_original(name: str, test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "families" / name
    convert(folder / "f32.gguf", tmp_path / "out")
    with load(tmp_path / "out") as model:
        for ids, logits in logits_of(folder):
            assert np.abs(model.logits(ids.tolist()).numpy() - logits).max() < 1e-4


@EACH
def test_any_chunks_give_the_same_logits(name: str, test_data: Path) -> None:
    """A recurrent state carries over like a cache: in float64, where only rounding could differ."""
    folder = test_data / "families" / name
    ids = logits_of(folder)[0][0].tolist()
    with load(folder / "f32.gguf", dtype="float64") as model:
        whole = model.logits(ids)
        for chunk in (1, 7, 64):
            torch.testing.assert_close(model.logits(ids, chunk=chunk), whole, rtol=0, atol=1e-6)


@EACH
def test_a_request_leaves_nothing_behind(name: str, test_data: Path) -> None:
    """A request gives the same tokens before and after another one that was cancelled half-way."""
    folder = test_data / "families" / name
    ids = logits_of(folder)[1][0].tolist()
    with load(folder / "f32.gguf") as model:
        first = model.generate(ids, max_new_tokens=6).ids
        given_up = model.stream(ids[::-1], max_new_tokens=6)
        given_up.cancel()
        assert list(given_up) == []
        assert model.generate(ids, max_new_tokens=6).ids == first
    with load(folder / "f32.gguf") as fresh:
        assert fresh.generate(ids, max_new_tokens=6).ids == first


@EACH
def test_a_cache_takes_the_predicted_bytes(name: str, test_data: Path) -> None:
    with load(test_data / "families" / name / "f32.gguf") as model:
        cache = model.new_cache(50)
        held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in cache.tensors()}
        assert sum(held.values()) == model.traits.cache_bytes(50)
