"""llama.cpp's own script converts a converted folder back to the GGUF file that it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.llama_cpp_logits import differences_of_logits
from benchmarks.script_habits import HABITS
from benchmarks.there_and_back import (
    differences,
    is_difference,
    models,
    outcome,
    reorder_rows,
    script,
    tensor_differences,
    there_and_back,
)
from llorch.formats.gguf import Header, read_header
from tests.conftest import absent
from tests.models.gguf_writer import F32, STRING, TYPE_F32, U32, one
from tests.models.tiny import WIDTH, tiny_llama


@pytest.fixture(scope="session")
def llama_cpp() -> Path:
    """The sources of llama.cpp: LLORCH_LLAMA_CPP, or the package index's."""
    named = os.environ.get("LLORCH_LLAMA_CPP")
    if named:
        return Path(named)
    try:
        return script()
    except OSError as error:
        absent(f"llama.cpp's script cannot be fetched ({error}); LLORCH_LLAMA_CPP may name a checkout")
        raise


@pytest.mark.slow
@pytest.mark.parametrize("name", models())
def test_a_folder_converts_back_to_the_file_it_came_from(name: str, llama_cpp: Path) -> None:
    found, _ = outcome(name, models()[name], llama_cpp)
    assert found == []


@pytest.mark.slow
def test_facts_of_the_model_round_trip_through_the_card(
    test_data: Path, tmp_path: Path, llama_cpp: Path
) -> None:
    facts = {
        "name": "Harbour 3B Instruct", "author": "A. N. Author", "organization": "harbour", "license": "apache-2.0",
        "license.link": "https://example.org/licence", "quantized_by": "somebody", "description": "Of boats.",
        "basename": "Harbour", "finetune": "Instruct", "version": "v3", "size_label": "3B",
        "languages": ["en", "pt"], "tags": ["text-generation", "boats"], "base_model.count": 1,
        "base_model.0.name": "Harbour 3B", "base_model.0.organization": "Harbour",
        "base_model.0.repo_url": "https://huggingface.co/harbour/Harbour-3B",
    }  # fmt: skip
    first = with_facts(test_data / "tiny" / "llama" / "f32.gguf", tmp_path / "first.gguf", facts)
    assert list(differences(first, there_and_back(first, tmp_path, llama_cpp))) == []
    assert 'quantized_by: "somebody"' in (tmp_path / "folder" / "README.md").read_text()


def with_facts(file: Path, out: Path, facts: dict[str, Any]) -> Path:
    """Copy a file with other `general.*` keys, using gguf-py."""
    import gguf

    reader = gguf.GGUFReader(file)
    writer = gguf.GGUFWriter(out, "llama")
    kept = (field for name, field in reader.fields.items() if not name.startswith(("GGUF.", "general.")))
    for field in kept:
        inner: Any = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for key, value in {**facts, "type": "model", "file_type": 0, "quantization_version": 2}.items():
        if isinstance(value, list):
            writer.add_array(f"general.{key}", value)
        elif isinstance(value, int):
            writer.add_uint32(f"general.{key}", value)
        else:
            writer.add_string(f"general.{key}", value)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def test_a_change_of_a_weight_of_a_key_and_of_a_token_is_detected(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    first.write_bytes(tiny_llama().build())
    changed = tiny_llama().key("llama.rope.freq_base", one(F32, 20000.0))
    norm = np.ones(WIDTH, np.float32).tobytes()
    second.write_bytes(changed.tensor("output_norm.weight", [WIDTH], TYPE_F32, data=norm).build())
    assert list(differences(first, first)) == []
    found = list(differences(first, second))
    assert len(found) == 2
    assert found[0].startswith("tensor output_norm.weight")
    assert found[1] == "key llama.rope.freq_base: was 10000.0, is 20000.0"


def test_rows_of_two_halves_are_compared_as_pairs(tmp_path: Path) -> None:
    file = tmp_path / "exaone.gguf"
    model = tiny_llama().key("general.architecture", one(STRING, "exaone"))
    file.write_bytes(model.key("exaone.attention.head_count", one(U32, 2)).build())
    header = read_header(file)
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert reorder_rows(rows, "blk.0.attn_q.weight", header)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert reorder_rows(rows, "blk.0.attn_v.weight", header) is rows


def test_rows_that_are_pairs_are_compared_as_two_halves(tmp_path: Path) -> None:
    file = tmp_path / "maincoder.gguf"
    model = tiny_llama().key("general.architecture", one(STRING, "maincoder"))
    file.write_bytes(model.key("maincoder.attention.head_count_kv", one(U32, 2)).build())
    header = read_header(file)
    rows = np.arange(8, dtype=np.float32)
    assert reorder_rows(rows, "blk.0.attn_k.bias", header).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert reorder_rows(rows, "blk.0.attn_k_norm.weight", header).tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


def test_one_tensor_of_queries_keys_and_values_is_compared_with_three(tmp_path: Path) -> None:
    q, k, v = (np.full((rows, WIDTH), rows, np.float32) for rows in (4, 2, 3))
    first = header_with(tmp_path / "first.gguf", {"qkv": np.concatenate([q, k, v])})
    assert (
        list(tensor_differences(first, header_with(tmp_path / "same.gguf", {"q": q, "k": k, "v": v}))) == []
    )
    for name, parts in {
        "k": {"q": q, "k": k + 1, "v": v}, "v": {"q": q, "k": k, "v": v[:-1]}
    }.items():  # fmt: skip
        (found,) = tensor_differences(first, header_with(tmp_path / f"other-{name}.gguf", parts))
        assert found.startswith(f"tensor blk.9.attn_{name}.weight")
    assert list(tensor_differences(first, first)) == []


def header_with(file: Path, matrices: Mapping[str, NDArray[np.float32]]) -> Header:
    """The tiny model's header with further attention matrices."""
    model = tiny_llama()
    for name, matrix in matrices.items():
        shape = list(matrix.shape[::-1])
        model = model.tensor(f"blk.9.attn_{name}.weight", shape, TYPE_F32, data=matrix.tobytes())
    file.write_bytes(model.build())
    return read_header(file)


def test_a_habit_excuses_only_its_own_differences() -> None:
    key = "mixtral.attention.key_length"
    first = {
        "general.architecture": "mixtral",
        "mixtral.embedding_length": 64,
        "mixtral.attention.head_count": 4,
    }
    assert not is_difference(key, first, {key: 16})
    assert is_difference(key, first, {key: 32})
    assert is_difference(key, {**first, key: 32}, {key: 16})
    assert is_difference(key, {**first, key: 16}, {})
    base = "gemma3.rope.freq_base_swa"
    assert not is_difference(base, first, {base: 10000.0})
    assert is_difference(base, first, {base: 50000.0})
    assert is_difference(base, {**first, base: 50000.0}, {base: 10000.0})
    assert not is_difference("general.file_type", {"general.file_type": 15}, {"general.file_type": 0})
    assert is_difference("general.file_type", {"general.file_type": 15}, {"general.file_type": 1})
    assert is_difference("general.name", {"general.name": "a"}, {"general.name": "b"})
    assert is_difference(
        "tokenizer.ggml.tokens", {"tokenizer.ggml.tokens": ["a"]}, {"tokenizer.ggml.tokens": ["b"]}
    )
    assert all(reason for _, reason in HABITS.values())


def test_another_number_from_llama_cpp_is_detected(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    first.write_bytes(tiny_llama().build())
    second.write_bytes(tiny_llama().key("llama.rope.freq_base", one(F32, 20000.0)).build())
    assert list(differences_of_logits(first, first, tmp_path)) == []
    (found,) = differences_of_logits(first, second, tmp_path)
    assert found.startswith("llama.cpp's log-probabilities differ by up to ")
