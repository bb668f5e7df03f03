"""Families whose activations overflow float16: a warning before anything is written in it."""

from __future__ import annotations

import pytest

from llorch.converter.plan.float16 import OVERFLOWS, float16_warnings


@pytest.mark.parametrize("architecture", OVERFLOWS)
def test_a_family_that_overflows_is_told_of_in_float16_alone(architecture: str) -> None:
    (warning,) = float16_warnings(architecture, "float16")
    assert "--dtype bfloat16" in warning
    assert float16_warnings(architecture, "bfloat16") == ()
    assert float16_warnings("llama", "float16") == ()
