"""config.json and generation_config.json, for keys that are present, missing, or have no effect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.errors import MalformedInput
from llorch.converter.plan.config import build_generation_config, with_dtype
from llorch.converter.plan.dtype import DType
from llorch.converter.plan.plan import Plan, make_plan
from tests.converter.headers import TOKENS, header_of, llama


def planned(keys: dict[str, object]) -> Plan:
    return make_plan(llama(keys), TOKENS)


def test_floats_are_the_decimals_that_their_authors_wrote() -> None:
    config = planned(
        {"llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.rope.freq_base": 999999.4420358813}
    ).config
    assert (config["rms_norm_eps"], config["rope_theta"]) == (1e-05, 999999.44)


@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_a_decimal_is_the_same_float32(value: float) -> None:
    config = planned({"llama.rope.freq_base": value}).config
    assert np.float32(str(config["rope_theta"])) == np.float32(value)


def test_missing_values_are_assumed_and_listed() -> None:
    assumed = planned({}).assumed
    assert assumed["hidden_act"] == "silu"
    assert assumed["rope_theta"] == 10000.0
    assert "rope_theta" not in planned({"llama.rope.freq_base": 10000.0}).assumed
    assert "num_hidden_layers" not in assumed


def test_the_assumed_values_are_the_written_ones() -> None:
    result = planned({})
    assert {key: result.config[key] for key in result.assumed} == result.assumed


def test_ids_that_are_missing_are_null_and_zero_is_an_id() -> None:
    config = planned({"tokenizer.ggml.bos_token_id": 0}).config
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (0, 2, None)


def test_both_generations_get_the_rotation() -> None:
    config = planned({"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 2.0}).config
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert config["rope_parameters"] == {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}


def test_the_dtype_is_written_under_both_names() -> None:
    config = with_dtype({"a": 1}, DType.BF16)
    assert config == {"a": 1, "dtype": "bfloat16", "torch_dtype": "bfloat16"}


def generation(keys: dict[str, object], stops: list[int]) -> dict[str, object]:
    return build_generation_config(header_of(keys, {}).metadata, 50, stops, set())


@pytest.mark.parametrize(("stops", "said"), [([2], 2), ([2, 7, 2], [2, 7]), ([0], 0)])
def test_one_stop_is_a_number_and_several_are_a_list(stops: list[int], said: object) -> None:
    assert generation({}, stops) == {"eos_token_id": said}


def test_no_stop_is_not_written() -> None:
    assert generation({}, []) == {}


def test_recommended_sampling_is_kept_under_the_names_of_transformers() -> None:
    keys: dict[str, object] = {
        "general.sampling.temp": 0.7,
        "general.sampling.top_p": 0.9,
        "general.sampling.min_p": 0.05,
        "general.sampling.top_k": 40,
        "general.sampling.penalty_repeat": 1.1,
    }
    assert generation(keys, []) == {
        "temperature": 0.7,
        "top_p": 0.9,
        "min_p": 0.05,
        "top_k": 40,
        "repetition_penalty": 1.1,
        "do_sample": True,
    }


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_of_zero_is_greedy_and_the_penalty_stays(temperature: float) -> None:
    keys = {
        "general.sampling.temp": temperature,
        "general.sampling.top_p": 0.9,
        "general.sampling.penalty_repeat": 1.1,
    }
    assert generation(keys, [2]) == {"eos_token_id": 2, "repetition_penalty": 1.1, "do_sample": False}  # type: ignore[arg-type]


def test_a_repetition_penalty_alone_does_not_mean_sampling() -> None:
    assert generation({"general.sampling.penalty_repeat": 1.1}, []) == {"repetition_penalty": 1.1}


def test_a_whole_number_of_another_type_is_a_top_k() -> None:
    assert generation({"general.sampling.top_k": 40.0}, [])["top_k"] == 40
    with pytest.raises(MalformedInput, match=r"top_k.*is 1.5, expected a whole number"):
        generation({"general.sampling.top_k": 1.5}, [])


def test_tokens_that_are_never_sampled_are_written_if_they_exist() -> None:
    assert generation({"tokenizer.ggml.suppress_tokens": [3, -1, 49, 50]}, []) == {"suppress_tokens": [3, 49]}
    assert generation({"tokenizer.ggml.suppress_tokens": [99]}, []) == {}


def gemma(name: str, layers: int, **keys: object) -> Plan:
    """A Gemma with `layers` layers, hidden 24, 4 heads of 8: head_dim and hidden / heads differ."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (50, 24), "output_norm.weight": (24,)}
    norms = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
    for i in range(layers):
        shapes |= {f"blk.{i}.{norm}.weight": (24,) for norm in norms}
        shapes |= {f"blk.{i}.attn_{part}.weight": (32, 24) for part in "qkv"}
        shapes |= {f"blk.{i}.attn_{part}_norm.weight": (8,) for part in "qk" if name == "gemma3"}
        shapes |= {f"blk.{i}.attn_output.weight": (24, 32), f"blk.{i}.ffn_down.weight": (24, 16)}
        shapes |= {f"blk.{i}.ffn_{part}.weight": (16, 24) for part in ("gate", "up")}
    metadata = {
        "context_length": 64,
        "embedding_length": 24,
        "block_count": layers,
        "attention.head_count": 4,
        "attention.layer_norm_rms_epsilon": 1e-6,
        **{key.replace("__", "."): value for key, value in keys.items()},
    }
    return make_plan(
        header_of({"general.architecture": name, **{f"{name}.{k}": v for k, v in metadata.items()}}, shapes),
        TOKENS,
    )


@pytest.mark.parametrize(("name", "layers_of_27b"), [("gemma2", 46), ("gemma3", 62)])
def test_the_27b_models_scale_queries_by_the_width_and_others_by_the_head(
    name: str, layers_of_27b: int
) -> None:
    assert gemma(name, layers_of_27b).config["query_pre_attn_scalar"] == 6
    assert gemma(name, layers_of_27b - 1).config["query_pre_attn_scalar"] == 8


FULL, SLIDING = "full_attention", "sliding_attention"


@pytest.mark.parametrize(
    ("keys", "types"),
    [
        ({}, [FULL] * 7),
        ({"attention__sliding_window": 0}, [FULL] * 7),
        ({"attention__sliding_window": 8}, [SLIDING] * 5 + [FULL, SLIDING]),
        ({"attention__sliding_window": 8, "attention__sliding_window_pattern": 2},
         [SLIDING, FULL, SLIDING, FULL, SLIDING, FULL, SLIDING]),
        ({"attention__sliding_window": 8, "attention__sliding_window_pattern": [True, True, False] + [True] * 4},
         [SLIDING, SLIDING, FULL] + [SLIDING] * 4),
    ],
)  # fmt: skip
def test_the_layers_that_slide_follow_from_the_keys(keys: dict[str, object], types: list[str]) -> None:
    assert gemma("gemma3", 7, **keys).config["layer_types"] == types


def test_gemma_3_without_its_keys_has_the_bases_of_llama_cpp() -> None:
    config = gemma("gemma3", 1).config
    assert (config["rope_theta"], config["rope_local_base_freq"]) == (1000000.0, 10000.0)


def test_a_soft_cap_of_zero_is_none() -> None:
    assert gemma("gemma2", 1, final_logit_softcapping=0.0).config["final_logit_softcapping"] is None
    assert gemma("gemma2", 1).config["final_logit_softcapping"] == 30.0


def test_unused_tokens_in_the_middle_are_suppressed_and_padding_is_not() -> None:
    types: dict[str, object] = {"tokenizer.ggml.token_type": [1, 5, 3, 5, 5]}
    assert planned(types).generation_config["suppress_tokens"] == [1]
    assert "suppress_tokens" not in planned({"tokenizer.ggml.token_type": [1, 3, 5]}).generation_config
