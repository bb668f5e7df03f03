"""Rotary scaling: which one a file has, and Llama 3's four parameters from a table of factors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.converter.architectures.llama import LLAMA
from llorch.converter.architectures.phi3 import PHI3
from llorch.converter.plan.llama3_rope import closed_form
from llorch.converter.plan.rope import (
    FREQS,
    LONG,
    SHORT,
    Rope,
    partial_rotary_factor,
    read_rope,
    rope_parameters,
)
from llorch.converter.schema.keys import Keys
from tests.converter.headers import header_of

SIZES = {"context": 128, "head_dim": 8, "rope_dim": 8, "rope_pairs": 4}
TABLE = np.array([1.5, 2.5, 3.5, 4.5], np.float32)


def keys_of(**keys: object) -> Keys:
    values = {f"llama.rope.{key.replace('__', '.')}": value for key, value in keys.items()}
    return Keys(header_of(values, {}).metadata, "llama")


def scaling_of(
    tables: Mapping[str, NDArray[np.float32]] | None = None, **keys: object
) -> dict[str, object] | None:
    return read_rope(LLAMA, keys_of(**keys), SIZES, tables or {}).scaling


def torch_table(
    theta: float, dim: int, factor: float, low: float, high: float, context: int
) -> NDArray[np.float32]:
    """The table as llama.cpp's conversion/llama.py computes it, with zero-dimensional tensors in torch."""
    import torch

    factors: list[object] = []
    for freq in 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)):
        wavelength = 2 * math.pi / freq
        if wavelength < context / high:
            factors.append(1)
        elif wavelength > context / low:
            factors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(factors, dtype=torch.float32).numpy()


PUBLISHED = {
    "Llama 3.1 and 3.3": (5e5, 128, 8.0, 1.0, 4.0, 8192),
    "Llama 3.2 1B": (5e5, 64, 32.0, 1.0, 4.0, 8192),
    "Llama 3.2 3B": (5e5, 128, 32.0, 1.0, 4.0, 8192),
    "our tiny one": (5e5, 32, 8.0, 1.0, 4.0, 40),
    "another": (1e6, 128, 4.0, 1.0, 2.0, 4096),
    "one entry in the middle": (1e6, 16, 8.0, 1.0, 4.0, 64),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_parameters_of_a_llama3_table_are_found(name: str) -> None:
    theta, dim, factor, low, high, context = PUBLISHED[name]
    assert closed_form(torch_table(theta, dim, factor, low, high, context), theta) == {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": context,
    }


@given(
    st.sampled_from([1e4, 1e5, 5e5, 1e6]),
    st.sampled_from([64, 96, 128]),
    st.sampled_from([4.0, 8.0, 32.0]),
    st.sampled_from([1.0, 1.5, 2.0]),
    st.sampled_from([2.0, 3.0, 4.0]),
    st.sampled_from([2048, 8192, 16384]),
)
# one unit in the last place of a frequency is ten of an entry near 32
@example(5e5, 96, 32.0, 1.5, 4.0, 2048)
def test_the_parameters_found_give_the_same_table(
    theta: float, dim: int, factor: float, low: float, ratio: float, context: int
) -> None:
    table = torch_table(theta, dim, factor, low, low * ratio, context)
    found = closed_form(table, theta)
    if found is None:  # not found from one entry in the middle, or if no entry reaches the factor
        assert np.count_nonzero((table > 1) & (table < factor)) < 3 or table.max() < factor
        return
    context = int(str(found["original_max_position_embeddings"]))
    factor, low, high = (float(str(found[key])) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    # Parameters that differ only by a common factor give the same table, except for rounding.
    assert np.allclose(torch_table(theta, dim, factor, low, high, context), table, rtol=4e-6, atol=0)


def test_a_table_of_no_llama3_parameters_is_written_factor_by_factor() -> None:
    scaling = scaling_of({FREQS: TABLE})
    assert scaling == {
        "rope_type": "longrope",
        "short_factor": [1.5, 2.5, 3.5, 4.5],
        "long_factor": [1.5, 2.5, 3.5, 4.5],
        "factor": 1.0,
        "attention_factor": 1.0,
        "original_max_position_embeddings": 128,
    }


def test_transformers_divides_the_frequencies_by_the_factors() -> None:
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    keys = keys_of()
    rope = read_rope(LLAMA, keys, SIZES, {FREQS: TABLE})
    config = LlamaConfig(
        hidden_size=32,
        num_attention_heads=4,
        max_position_embeddings=128,
        **rope_parameters(LLAMA, rope, keys, SIZES),
    )
    embedding = LlamaRotaryEmbedding(config)
    plain = 1.0 / 10000.0 ** (torch.arange(0, 8, 2) / 8)
    torch.testing.assert_close(embedding.inv_freq, plain / torch.tensor(TABLE), rtol=1e-6, atol=0)
    assert embedding.attention_scaling == 1.0


def test_without_keys_there_is_no_scaling() -> None:
    assert scaling_of() is None
    assert scaling_of(scaling__type="none", scaling__factor=4.0) is None
    assert scaling_of(scaling__type="linear", scaling__factor=1.0) is None
    assert scaling_of({FREQS: np.ones(4, np.float32)}) is None


def test_a_factor_alone_is_linear() -> None:
    linear = {"rope_type": "linear", "factor": 4.0}
    assert scaling_of(scaling__factor=4.0) == linear
    assert scaling_of(scale_linear=4.0) == linear
    assert scaling_of(scaling__type="linear", scaling__factor=4.0) == linear


def test_yarn_without_an_original_context_uses_the_context() -> None:
    assert scaling_of(scaling__type="yarn", scaling__factor=4.0) == {
        "rope_type": "yarn",
        "factor": 4.0,
        "original_max_position_embeddings": 128,
    }


def test_longrope_has_an_attention_factor_only_if_it_is_not_the_default() -> None:
    usual = math.sqrt(1 + math.log(128 / 32) / math.log(32))
    tables = {LONG: TABLE, SHORT: TABLE}
    said = {"scaling__original_context_length": 32}
    assert "attention_factor" not in (scaling_of(tables, **said, scaling__attn_factor=usual) or {})
    assert (scaling_of(tables, **said, scaling__attn_factor=1.25) or {})["attention_factor"] == 1.25


def test_longrope_without_an_attention_factor_has_llama_cpps() -> None:
    tables = {LONG: TABLE, SHORT: TABLE}
    rope = read_rope(LLAMA, keys_of(scaling__original_context_length=32), SIZES, tables)
    assert (rope.scaling or {})["attention_factor"] == 1.0
    assert rope.assumed["attention_factor"] == 1.0
    assert "attention_factor" not in (scaling_of(tables) or {})  # which is 1 by transformers' formula too


def test_a_linear_factor_applies_on_top_of_a_table() -> None:
    said = {"scaling__factor": 2.0}
    assert (scaling_of({FREQS: TABLE}, **said) or {})["long_factor"] == [3.0, 5.0, 7.0, 9.0]
    assert (scaling_of({LONG: TABLE, SHORT: TABLE}, **said) or {})["short_factor"] == [3.0, 5.0, 7.0, 9.0]
    said["scaling__type"] = "none"  # type: ignore[assignment]
    assert (scaling_of({FREQS: TABLE}, **said) or {})["long_factor"] == TABLE.tolist()


def test_a_class_with_only_longrope_gets_a_linear_factor_for_every_pair() -> None:
    keys = Keys(header_of({"phi3.rope.scaling.factor": 2.0}, {}).metadata, "phi3")
    assert read_rope(PHI3, keys, SIZES, {}).scaling == {
        "rope_type": "longrope",
        "short_factor": [2.0] * 4,
        "long_factor": [2.0] * 4,
        "original_max_position_embeddings": 128,
    }
    yarn = {"phi3.rope.scaling.type": "yarn", "phi3.rope.scaling.factor": 2.0}
    with pytest.raises(UnsupportedInput, match="is yarn, of which Phi3ForCausalLM knows nothing"):
        read_rope(PHI3, Keys(header_of(yarn, {}).metadata, "phi3"), SIZES, {})


def test_longrope_is_spelled_with_three_keys_for_version_4() -> None:
    rope = Rope(10000.0, scaling_of({LONG: TABLE, SHORT: TABLE}), {})
    config = rope_parameters(PHI3, rope, keys_of(), SIZES)
    assert config["rope_scaling"] == {
        "type": "longrope",
        "short_factor": TABLE.tolist(),
        "long_factor": TABLE.tolist(),
    }
    assert config["original_max_position_embeddings"] == 128


def test_factors_are_printed_as_their_shortest_decimals() -> None:
    table = np.array([1.08, 1.1, 62.55, 1 / 3], np.float32)
    assert (scaling_of({LONG: table, SHORT: table}) or {})["long_factor"] == [1.08, 1.1, 62.55, 0.33333334]


@pytest.mark.parametrize(
    ("error", "words", "tables", "keys"),
    [
        (UnsupportedInput, "rope.scaling.type.*'dynamic'", {}, {"scaling__type": "dynamic"}),
        (MalformedInput, "rope.scaling.type.*rope_factors_long", {}, {"scaling__type": "longrope"}),
        (MalformedInput, "rope.scaling.factor.*missing", {}, {"scaling__type": "yarn"}),
        (MalformedInput, "rope.scaling.factor.*not above zero", {}, {"scaling__factor": -1.0}),
        (UnsupportedInput, "yarn_log_multiplier", {},
         {"scaling__type": "yarn", "scaling__factor": 2.0, "scaling__yarn_log_multiplier": 0.1}),
        (MalformedInput, "rope_factors_short.*missing, though its twin", {LONG: TABLE}, {}),
        (MalformedInput, "rope_factors_long.*missing, though its twin", {SHORT: TABLE}, {}),
        (UnsupportedInput, "rope_freqs.*beside", {LONG: TABLE, SHORT: TABLE, FREQS: TABLE}, {}),
        (UnsupportedInput, "is yarn, and rope_freqs", {FREQS: TABLE}, {"scaling__type": "yarn"}),
        (MalformedInput, "is longrope, but rope_factors_long", {FREQS: TABLE}, {"scaling__type": "longrope"}),
        (UnsupportedInput, "attn_factor.*is 2.0", {}, {"scaling__factor": 4.0, "scaling__attn_factor": 2.0}),
        (UnsupportedInput, "attn_factor.*is 2.0", {}, {"scaling__attn_factor": 2.0}),
        (MalformedInput, "rope_freqs.*3 entries", {FREQS: TABLE[:3]}, {}),
        (MalformedInput, "rope_freqs.*finite", {FREQS: np.array([1, 2, 3, np.nan], np.float32)}, {}),
        (MalformedInput, "rope_freqs.*positive", {FREQS: np.array([1, 2, 3, 0], np.float32)}, {}),
        (MalformedInput, "rope.freq_base.*not above zero", {}, {"freq_base": 0.0}),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named(
    error: type[InputError], words: str, tables: dict[str, NDArray[np.float32]], keys: dict[str, object]
) -> None:
    with pytest.raises(error, match=words):
        scaling_of(tables, **keys)


@given(st.integers(1, 128).map(lambda n: 2 * n), st.data())
def test_transformers_gets_the_rotary_dimension_back(head_dim: int, data: st.DataObject) -> None:
    rope_dim = 2 * data.draw(st.integers(1, head_dim // 2))
    assert int(head_dim * partial_rotary_factor(rope_dim, head_dim)) == rope_dim


@pytest.mark.parametrize(
    ("rope_dim", "head_dim", "factor"),
    [(32, 80, 0.4), (96, 128, 0.75), (16, 64, 0.25), (64, 64, 1.0), (12, 32, 0.4)],
)
def test_the_partial_factor_is_a_short_decimal(rope_dim: int, head_dim: int, factor: float) -> None:
    assert partial_rotary_factor(rope_dim, head_dim) == factor
