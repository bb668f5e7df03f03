"""The public face: its names are stable, and using one imports no more than it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llorch import runtime

NAMES = [
    "Chat", "ContextFull", "Description", "Generation", "LogitsComparison", "Model", "Perplexity", "RequestError",
    "Sampling", "Stream", "UnknownToken", "compare_logits", "describe", "load", "measure_perplexity", "read_text",
]  # fmt: skip


def test_the_public_names_are_these_and_all_resolve() -> None:
    assert set(NAMES) <= set(runtime.__all__)
    assert all(getattr(runtime, name).__name__ == name for name in NAMES)


def test_no_name_is_hidden_by_a_module_of_the_same_name() -> None:

    assert callable(runtime.compare_logits)
    assert callable(runtime.measure_perplexity)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = runtime.nothing


@pytest.mark.parametrize(
    "code", ["from llorch import runtime", "from llorch import runtime; runtime.describe"]
)
def test_importing_and_describing_need_no_torch(code: str) -> None:
    check = f"{code}; import sys; print(sorted({{'torch', 'numba', 'llvmlite', 'tokenizers'}} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
