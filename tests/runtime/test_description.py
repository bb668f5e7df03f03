"""The output of `info`, against llama.cpp's own reader and hand counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFReader

from llorch import converter
from llorch.base.errors import MalformedInput
from llorch.runtime.description import describe
from llorch.runtime.loading import load
from llorch.runtime.memory import TILE_BYTES, TOKEN_BYTES
from tests.runtime.conftest import FORMATS, TINY


@pytest.mark.parametrize("name", TINY)
def test_the_quant_mix_is_what_llama_cpps_reader_counts(test_data: Path, name: str) -> None:
    path = test_data / "tiny" / name / "q4_k_m.gguf"
    found, tensors = describe(path), GGUFReader(path).tensors
    counted = {stored.type: (stored.tensors, stored.weights, stored.size_bytes) for stored in found.types}
    expected: dict[str, tuple[int, int, int]] = {}
    for tensor in tensors:
        count, weights, size = expected.get(tensor.tensor_type.name, (0, 0, 0))
        expected[tensor.tensor_type.name] = (
            count + 1, weights + int(tensor.n_elements), size + int(tensor.n_bytes)
        )  # fmt: skip
    assert counted == expected
    assert found.weights == sum(weights for _, weights, _ in expected.values())


@pytest.mark.parametrize(
    "tiny", [(name, format) for name in TINY for format in FORMATS], indirect=True, ids="-".join
)
def test_the_traits_described_are_those_that_run(tiny: Path) -> None:
    found = describe(tiny)
    with load(tiny) as model:
        assert found.traits == model.traits
        assert found.format == model.format
        cache = model.new_cache(17)
    assert found.for_positions(17).cache == sum(tensor.nbytes for tensor in cache.tensors())


def test_both_formats_of_a_model_have_the_same_description(test_data: Path, originals: Path) -> None:
    gguf, folder = describe(test_data / "tiny" / "qwen2" / "f32.gguf"), describe(originals / "qwen2")
    assert (gguf.architecture, folder.architecture) == ("qwen2", "qwen2")
    assert (gguf.weights, gguf.size_bytes) == (folder.weights, folder.size_bytes)
    assert gguf.bits_per_weight == 32
    assert gguf.tokens == 376  # three of them padding, which the folder's tokenizer lacks
    assert folder.tokens == 373


def test_memory_is_weights_cache_tokenizer_and_scratch(test_data: Path) -> None:
    found = describe(test_data / "tiny" / "llama" / "f32.gguf")
    memory = found.for_positions(100)
    embedding = 384 * 256  # untied, and stored as float32
    assert memory.weights == 4 * found.weights
    # keys and values, layers, kv heads, head_dim, positions, bytes
    assert memory.cache == 2 * 3 * 2 * 32 * 100 * 4
    assert memory.tokenizer == 384 * TOKEN_BYTES
    assert memory.total == memory.weights + memory.cache + memory.tokenizer + memory.scratch
    assert found.weights > 2 * embedding
    assert found.memory.positions == 320


def test_only_the_decoder_has_tiles_and_scores_in_memory(test_data: Path) -> None:
    """Kernel programs dequantize and score within a core's cache; sinks are left to the decoder."""
    by_programs = describe(test_data / "tiny" / "llama" / "q4_k_m.gguf").for_positions(100)
    by_decoder = describe(test_data / "families" / "gptoss" / "q4_k_m.gguf").for_positions(100)
    assert by_programs.scratch < 2 * TILE_BYTES < by_decoder.scratch


def test_a_folder_of_16_bits_is_held_in_them(test_data: Path, tmp_path: Path) -> None:
    converter.convert(test_data / "tiny" / "llama" / "f32.gguf", tmp_path / "made", dtype="bfloat16")
    found = describe(tmp_path / "made")
    assert found.for_positions(10).weights == found.size_bytes == 2 * found.weights


def test_a_folder_that_cannot_be_run_is_not_described(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MalformedInput, match="key 'model_type': is missing"):
        describe(tmp_path)
