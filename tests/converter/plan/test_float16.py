"""Families whose activations overflow float16: a warning before anything is written in it."""

from __future__ import annotations

import pytest

from llorch.converter.plan.float16 import OVERFLOWS, float16_warnings


@pytest.mark.parametrize("architecture", OVERFLOWS)
def test_a_family_that_overflows_gets_a_warning_in_float16_only(architecture: str) -> None:
    (warning,) = float16_warnings(architecture, "float16")
    assert "--dtype bfloat16" in warning
    assert float16_warnings(architecture, "bfloat16") == ()
    assert float16_warnings("llama", "float16") == ()
