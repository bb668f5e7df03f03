"""The table of types against ggml's own, and the error for an id that is not in it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from llorch.base.errors import UnsupportedInput
from llorch.formats.quants import BY_ID, REMOVED, by_id, by_name
from tests.conftest import REPOSITORY
from tests.formats.quants.reference import library


def test_names_and_sizes_are_those_of_ggml() -> None:
    ggml = library()
    ggml.ggml_type_name.restype = ctypes.c_char_p
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.ggml_blck_size.restype = ctypes.c_int64
    theirs = {
        id: (ggml.ggml_type_name(id).decode().upper(), ggml.ggml_blck_size(id), ggml.ggml_type_size(id))
        for id in range(43)
        if ggml.ggml_blck_size(id)
    }
    assert {id: (t.name, t.weights, t.block_bytes) for id, t in BY_ID.items()} == theirs


def test_a_removed_id_is_refused_by_its_name() -> None:
    for id, name in REMOVED.items():
        with pytest.raises(
            UnsupportedInput, match=rf"{name} \({id}\), which llama\.cpp removed; known are F32, F16"
        ):
            by_id(id)


@pytest.mark.parametrize("id", [43, 255, 2**32 - 1, -1])
def test_an_unknown_id_is_refused_with_all_known_names(id: int) -> None:
    with pytest.raises(UnsupportedInput, match=f"unknown ggml type {id}; known are .*F32.*Q4_K.*IQ1_M.*Q2_0"):
        by_id(id)


def test_a_type_is_found_by_name_or_not_at_all() -> None:
    assert by_name("Q6_K") is by_id(14)
    with pytest.raises(KeyError):
        by_name("q6_k")


def test_the_table_imports_neither_compilers_nor_codebooks() -> None:
    heavy = "{'llvmlite', 'numba', 'gguf', 'torch', 'platformdirs'}"
    script = f"import sys, llorch.formats.quants; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
