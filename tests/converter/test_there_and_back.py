"""llama.cpp's own script turns a converted folder back into the GGUF file that it came from."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.there_and_back import HABITS, differences, is_habit, script, there_and_back
from llorch.converter.architectures import architectures
from tests.conftest import REPOSITORY, absent
from tests.models.gguf_writer import F32, TYPE_F32, one
from tests.models.tiny import WIDTH, tiny_llama

DATA = Path(os.environ.get("LLORCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
CONVERTED = {architecture.model_type for architecture in architectures()}
MADE = sorted(  # by llama.cpp's script itself, of families that are converted
    folder.relative_to(DATA).as_posix()
    for folder in (*DATA.glob("tiny/*"), *DATA.glob("families/*"))
    if (folder / "config.json").is_file()
    and json.loads((folder / "config.json").read_text())["model_type"] in CONVERTED
)


@pytest.fixture(scope="session")
def llama_cpp() -> Path:
    """LLORCH_LLAMA_CPP, or what the package index has."""
    named = os.environ.get("LLORCH_LLAMA_CPP")
    if named:
        return Path(named)
    try:
        return script()
    except OSError as error:
        absent(f"llama.cpp's script cannot be fetched ({error}); LLORCH_LLAMA_CPP may name a checkout")
        raise


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_a_folder_goes_back_to_the_file_it_came_from(
    name: str, test_data: Path, tmp_path: Path, llama_cpp: Path
) -> None:
    file = test_data / name / "f32.gguf"
    assert list(differences(file, there_and_back(file, tmp_path, llama_cpp))) == []


@pytest.mark.slow
def test_a_real_folder_goes_back(real_model: Path, tmp_path: Path, llama_cpp: Path) -> None:
    back = there_and_back(real_model, tmp_path, llama_cpp)
    try:
        assert list(differences(real_model, back)) == []
    finally:
        shutil.rmtree(tmp_path)


def test_a_change_of_a_weight_of_a_key_and_of_a_token_is_seen(tmp_path: Path) -> None:
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


def test_a_habit_excuses_what_it_says_and_no_more(tmp_path: Path) -> None:
    assert is_habit("tokenizer.ggml.add_eos_token", None, False)
    assert not is_habit("tokenizer.ggml.add_eos_token", None, True)
    assert not is_habit("tokenizer.ggml.add_eos_token", True, False)
    assert is_habit("mixtral.attention.key_length", None, 32)
    assert not is_habit("mixtral.attention.key_length", 32, 64)
    assert not is_habit("tokenizer.ggml.tokens", ["a"], ["b"])
    assert all(reason for _, reason in HABITS.values())
