"""A transformers version known to compute a different model is named, and does not fail the folder."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from llorch.verification.check import CannotCheck
from llorch.verification.checks.loading import require_the_same_model

GRANITE = {"model_type": "granitemoehybrid", "mamba_n_groups": 2}


def test_grouped_norms_need_a_newer_version() -> None:
    """modeling_granitemoehybrid.py of 5.22.2 norms `intermediate_size` channels, that of 5.23.0 each group's."""
    with pytest.raises(CannotCheck, match=r"5\.22\.2 norms all channels .* 5\.23 or newer") as found:
        require_the_same_model(SimpleNamespace(__version__="5.22.2"), GRANITE)
    assert not found.value.optional


@pytest.mark.parametrize(
    ("version", "config"),
    [
        ("5.23.0", GRANITE),
        ("6.0.0.dev0", GRANITE),
        ("5.17.0", {**GRANITE, "mamba_n_groups": 1}),
        ("5.17.0", {"model_type": "llama"}),
    ],
)
def test_what_is_computed_alike_is_compared(version: str, config: dict[str, object]) -> None:
    require_the_same_model(SimpleNamespace(__version__=version), config)
