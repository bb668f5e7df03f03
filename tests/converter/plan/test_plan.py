"""The plan is complete: every tensor used once, every required one checked for its shape, every key used or named."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.converter.plan.plan import Plan, make_plan
from llorch.converter.plan.segments import PlannedTensor
from llorch.formats.gguf.file import Header
from tests.converter.executed import Tokens
from tests.converter.headers import LLAMA_TENSORS, TOKENS, Shape, header_of, llama

Q, K, V = (f"blk.0.attn_{part}.weight" for part in "qkv")


def planned(header: Header, *, allow_unknown: bool = False) -> Plan:
    return make_plan(header, TOKENS, allow_unknown=allow_unknown)


def output(planned: Plan, name: str) -> PlannedTensor:
    return next(o for o in planned.outputs if o.name == name)


def test_every_row_of_every_tensor_is_used_once() -> None:
    header = llama()
    used = {name: np.zeros(tensor.shape[0], int) for name, tensor in header.tensors.items()}
    for made in planned(header).outputs:
        assert made.weights == sum(segment.weights for segment in made.segments) == math.prod(made.shape)
        for segment in made.segments:
            used[segment.source.name][segment.first : segment.first + segment.rows] += 1
    assert all(np.all(counts == 1) for counts in used.values())


def test_q_and_k_are_permuted_in_whole_heads() -> None:
    made = {name: output(planned(llama()), f"model.layers.1.self_attn.{name}_proj.weight") for name in "qkv"}
    assert [str(made[name].operation) for name in "qk"] == ["rope_halves(head_dim=8)"] * 2
    assert [made[name].segments[0].unit_rows for name in "qkv"] == [8, 8, 1]
    assert made["v"].operation is None


def test_a_missing_output_layer_is_tied() -> None:
    tied = planned(llama(tensors={"output.weight": None}))
    assert tied.tied
    assert tied.config["tie_word_embeddings"] is True
    assert "lm_head.weight" not in {o.name for o in tied.outputs}
    assert planned(llama()).config["tie_word_embeddings"] is False


def test_a_fused_tensor_is_split_before_its_rows_move() -> None:
    fused = planned(llama(tensors={Q: None, K: None, V: None, "blk.0.attn_qkv.weight": (64, 32)}))
    rows = {}
    for name in "qkv":
        made = output(fused, f"model.layers.0.self_attn.{name}_proj.weight")
        (segment,) = made.segments
        assert segment.source.name == "blk.0.attn_qkv.weight"
        rows[name] = (segment.first, segment.rows, segment.unit_rows)
    assert rows == {"q": (0, 32, 8), "k": (32, 16, 8), "v": (48, 16, 1)}


def mixtral(experts: dict[str, Shape | None]) -> Header:
    dense: dict[str, Shape | None] = {
        f"blk.{i}.ffn_{part}.weight": None for i in range(2) for part in ("gate", "up", "down")
    }
    router: dict[str, Shape | None] = {f"blk.{i}.ffn_gate_inp.weight": (2, 32) for i in range(2)}
    return llama({"llama.expert_count": 2, "llama.expert_used_count": 1}, {**dense, **router, **experts})


STACKED: dict[str, Shape | None] = {
    f"blk.{i}.ffn_{part}_exps.weight": shape
    for i in range(2)
    for part, shape in (("gate", (2, 64, 32)), ("up", (2, 64, 32)), ("down", (2, 32, 64)))
}


def test_stacked_experts_are_slices() -> None:
    made = output(planned(mixtral(STACKED)), "model.layers.0.block_sparse_moe.experts.1.w2.weight")
    (segment,) = made.segments
    assert (segment.source.name, segment.first, segment.rows) == ("blk.0.ffn_down_exps.weight", 32, 32)
    assert made.shape == (32, 64)


def test_fused_gate_and_up_experts_are_split_expert_by_expert() -> None:
    fused: dict[str, Shape | None] = {k: v for k, v in STACKED.items() if "down" in k}
    fused |= {f"blk.{i}.ffn_gate_up_exps.weight": (2, 128, 32) for i in range(2)}
    result = planned(mixtral(fused))
    places = {}
    for expert in range(2):
        for name in ("w1", "w3"):
            (segment,) = output(
                result, f"model.layers.1.block_sparse_moe.experts.{expert}.{name}.weight"
            ).segments
            places[expert, name] = (segment.first, segment.rows)
    assert places == {(0, "w1"): (0, 64), (0, "w3"): (64, 64), (1, "w1"): (128, 64), (1, "w3"): (192, 64)}


def test_separate_experts_must_all_be_present() -> None:
    split: dict[str, Shape | None] = {
        f"blk.{i}.ffn_{part}.{e}.weight": shape
        for i in range(2)
        for e in range(2)
        for part, shape in (("gate", (64, 32)), ("up", (64, 32)), ("down", (32, 64)))
    }
    made = output(planned(mixtral(split)), "model.layers.1.block_sparse_moe.experts.1.w3.weight")
    assert [s.source.name for s in made.segments] == ["blk.1.ffn_up.1.weight"]
    with pytest.raises(MalformedInput, match=r"'blk\.1\.ffn_up\.1\.weight': is missing"):
        planned(mixtral({**split, "blk.1.ffn_up.1.weight": None}))


def test_outer_dimensions_of_one_may_be_missing() -> None:
    command_r = {
        "token_embd.weight": (50, 32),
        "output_norm.weight": (32,),
        "blk.0.attn_norm.weight": (32,),
        "blk.0.attn_q.weight": (32, 32),
        "blk.0.attn_k.weight": (8, 32),
        "blk.0.attn_v.weight": (8, 32),
        "blk.0.attn_output.weight": (32, 32),
        "blk.0.attn_q_norm.weight": (4, 8),
        "blk.0.attn_k_norm.weight": (8,),  # (1, 8) until ggml rewrote the file
        "blk.0.ffn_gate.weight": (64, 32),
        "blk.0.ffn_up.weight": (64, 32),
        "blk.0.ffn_down.weight": (32, 64),
    }
    keys = {
        "general.architecture": "command-r",
        "command-r.context_length": 128,
        "command-r.embedding_length": 32,
        "command-r.block_count": 1,
        "command-r.attention.head_count": 4,
        "command-r.attention.head_count_kv": 1,
        "command-r.attention.layer_norm_epsilon": 1e-5,
        "command-r.logit_scale": 0.0625,
    }
    result = planned(header_of(keys, command_r))
    assert output(result, "model.layers.0.self_attn.k_norm.weight").shape == (1, 8)
    assert result.config["use_qk_norm"] is True


def test_a_vector_in_blocks_is_cut_at_blocks_only() -> None:
    header = llama(types={"output_norm.weight": "Q4_0"})
    assert output(planned(header), "model.norm.weight").segments[0].unit_rows == 32


def test_biases_are_all_present_or_all_missing() -> None:
    biases: dict[str, Shape | None] = {
        f"blk.{i}.attn_{part}.bias": (rows,)
        for i in range(2)
        for part, rows in (("q", 32), ("k", 16), ("v", 16), ("output", 32))
    }
    result = planned(llama(tensors=biases))
    assert (result.config["attention_bias"], result.config["mlp_bias"]) == (True, False)
    with pytest.raises(
        MalformedInput, match=r"'blk\.1\.attn_k\.bias': is missing, though others of attention_bias"
    ):
        planned(llama(tensors={**biases, "blk.1.attn_k.bias": None}))


def test_without_a_bias_on_the_output_it_is_a_qwen2() -> None:
    biases: dict[str, Shape | None] = {
        f"blk.{i}.attn_{part}.bias": (rows,)
        for i in range(2)
        for part, rows in (("q", 32), ("k", 16), ("v", 16))
    }
    result = planned(llama(tensors=biases))
    assert result.config["model_type"] == "qwen2"
    assert str(output(result, "model.layers.0.self_attn.q_proj.bias").operation) == "rope_halves(head_dim=8)"


@pytest.mark.parametrize("key", ["general.name", "general.basename", "general.base_model.0.name"])
def test_a_llama_named_mistral_is_a_mistral(key: str) -> None:
    assert planned(llama({key: "Mistral 7B v0.3"})).config["model_type"] == "mistral"
    assert planned(llama({key: "Something"})).config["model_type"] == "llama"


def test_all_unknown_tensors_are_named_at_once() -> None:
    unknown: dict[str, Shape | None] = {
        "blk.0.nonsense.weight": (32,),
        "blk.1.attn_norm.scale": (1,),
        "x": (3,),
    }
    with pytest.raises(
        UnsupportedInput, match=r"tensors 'blk\.0\.nonsense\.weight', 'blk\.1\.attn_norm\.scale', 'x'"
    ):
        planned(llama(tensors=unknown))
    allowed = planned(llama(tensors=unknown), allow_unknown=True)
    assert set(allowed.unused) == set(unknown)
    assert len(allowed.outputs) == len(LLAMA_TENSORS)
    assert "nonsense" in " ".join(allowed.warnings)


def test_more_names_than_fit_are_counted() -> None:
    unknown: dict[str, Shape | None] = {f"x{n}": (32,) for n in range(30)}
    with pytest.raises(UnsupportedInput, match=r"'x11' and 18 more: are unknown"):
        planned(llama(tensors=unknown))


def test_an_unknown_key_of_the_architecture_is_an_error_and_others_are_not_needed() -> None:
    with pytest.raises(UnsupportedInput, match=r"key 'llama\.attention\.nonsense': is unknown"):
        planned(llama({"llama.attention.nonsense": 1}))
    allowed = planned(llama({"llama.attention.nonsense": 1}), allow_unknown=True)
    assert "llama.attention.nonsense" in " ".join(allowed.warnings)
    result = planned(
        llama({"general.license": "mit", "x.tags": 1, "quantize.imatrix.file": "f", "qwen2.block_count": 9})
    )
    assert {"general.license", "x.tags", "quantize.imatrix.file", "qwen2.block_count"} <= set(
        result.keys_not_needed
    )


def test_every_key_is_used_or_has_a_reason() -> None:
    header = llama({"llama.vocab_size": 50, "general.sampling.temp": 0.5, "tokenizer.ggml.bos_token_id": 0})
    result = planned(header)
    assert set(result.keys_not_needed) == set()
    assert result.generation_config["temperature"] == 0.5


def test_a_wrong_width_in_the_keys_is_overruled_by_the_tensors_with_a_warning() -> None:
    result = planned(llama({"llama.feed_forward_length": 96}))
    assert result.config["intermediate_size"] == 64
    assert result.warnings == ("key 'llama.feed_forward_length' is 96, the tensors say 64: theirs is taken",)


WRONG: dict[str, tuple[type[InputError], str, dict[str, object], dict[str, Shape | None]]] = {
    "no architecture": (MalformedInput, r"general\.architecture.*missing", {"general.architecture": None}, {}),
    "an empty one": (MalformedInput, r"general\.architecture.*empty", {"general.architecture": ""}, {}),
    "a number": (MalformedInput, r"general\.architecture.*string", {"general.architecture": 7}, {}),
    "an unknown one": (
        UnsupportedInput, r"'no\\nsuch'.*known are afmoe, .*deepseek2", {"general.architecture": "no\nsuch"}, {},
    ),
    "an adapter": (UnsupportedInput, r"general\.type.*'adapter'", {"general.type": "adapter"}, {}),
    "no width": (MalformedInput, r"llama\.embedding_length.*missing", {"llama.embedding_length": None}, {}),
    "a width of zero": (MalformedInput, r"llama\.embedding_length.*is 0", {"llama.embedding_length": 0}, {}),
    "another width": (MalformedInput, r"llama\.embedding_length.*64", {"llama.embedding_length": 64}, {}),
    "a width in text": (MalformedInput, r"llama\.embedding_length.*string", {"llama.embedding_length": "32"}, {}),
    "too many layers": (MalformedInput, r"llama\.block_count.*3.*2 layers", {"llama.block_count": 3}, {}),
    "too few layers": (MalformedInput, r"llama\.block_count", {"llama.block_count": 1}, {}),
    "2^62 layers": (MalformedInput, r"llama\.block_count", {"llama.block_count": 1 << 62}, {}),
    "no context": (MalformedInput, r"llama\.context_length", {"llama.context_length": 0}, {}),
    "odd heads": (
        MalformedInput, r"llama\.attention\.head_count'.*5",
        {"llama.attention.head_count": 5, "llama.attention.head_count_kv": 5}, {},
    ),
    "kv heads that do not divide": (
        MalformedInput, r"llama\.attention\.head_count_kv.*3", {"llama.attention.head_count_kv": 3}, {},
    ),
    "more kv heads than heads": (
        MalformedInput, r"llama\.attention\.head_count_kv.*8", {"llama.attention.head_count_kv": 8}, {},
    ),
    "heads that differ by layer": (
        UnsupportedInput, r"llama\.attention\.head_count_kv.*differs", {"llama.attention.head_count_kv": [2, 4]}, {},
    ),
    "a value of another width": (
        UnsupportedInput, r"llama\.attention\.value_length.*16",
        {"llama.attention.key_length": 8, "llama.attention.value_length": 16}, {},
    ),
    "a partial rotation": (MalformedInput, r"llama\.rope\.dimension_count.*4", {"llama.rope.dimension_count": 4}, {}),
    "an odd rotation": (MalformedInput, r"llama\.rope\.dimension_count.*7", {"llama.rope.dimension_count": 7}, {}),
    "no epsilon": (
        MalformedInput, r"llama\.attention\.layer_norm_rms_epsilon.*missing",
        {"llama.attention.layer_norm_rms_epsilon": None}, {},
    ),
    "a negative epsilon": (
        MalformedInput, r"llama\.attention\.layer_norm_rms_epsilon.*below 0",
        {"llama.attention.layer_norm_rms_epsilon": -1.0}, {},
    ),
    "a NaN": (
        MalformedInput, r"llama\.attention\.layer_norm_rms_epsilon.*nan",
        {"llama.attention.layer_norm_rms_epsilon": math.nan}, {},
    ),
    "a vocabulary beyond the rows": (MalformedInput, r"llama\.vocab_size.*51", {"llama.vocab_size": 51}, {}),
    "not causal": (UnsupportedInput, r"llama\.attention\.causal.*False", {"llama.attention.causal": False}, {}),
    "an id without a row": (
        MalformedInput, r"tokenizer\.ggml\.bos_token_id.*50", {"tokenizer.ggml.bos_token_id": 50}, {},
    ),
    "experts that are not there": (
        MalformedInput, r"llama\.expert_count.*no expert tensors",
        {"llama.expert_count": 2, "llama.expert_used_count": 2}, {},
    ),
    "more experts used than there are": (
        MalformedInput, r"llama\.expert_used_count.*9", {"llama.expert_count": 2, "llama.expert_used_count": 9}, {},
    ),
    "no embedding": (MalformedInput, r"token_embd\.weight.*missing", {}, {"token_embd.weight": None}),
    "fewer rows than tokens": (
        MalformedInput, r"token_embd\.weight.*49 rows", {}, {"token_embd.weight": (49, 32), "output.weight": (49, 32)},
    ),
    "another output": (
        MalformedInput, r"output\.weight.*\[49, 32\], expected \[50, 32\]", {}, {"output.weight": (49, 32)},
    ),
    "two missing": (
        MalformedInput, r"'blk\.0\.attn_q\.weight', 'blk\.0\.attn_v\.weight': are missing", {}, {Q: None, V: None},
    ),
    "a wrong shape": (MalformedInput, r"blk\.0\.attn_k\.weight.*\[32, 32\], expected \[16, 32\]", {}, {K: (32, 32)}),
    "fused and separate": (UnsupportedInput, r"blk\.0\.attn_qkv\.weight", {}, {"blk.0.attn_qkv.weight": (64, 32)}),
    "fused and one of it": (
        MalformedInput, r"blk\.0\.attn_qkv\.weight.*same weights", {},
        {Q: None, K: None, "blk.0.attn_qkv.weight": (64, 32)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(name: str) -> None:
    error, words, keys, tensors = WRONG[name]
    with pytest.raises(error, match=words) as raised:
        planned(llama(keys, tensors))
    assert "\n" not in str(raised.value)


def test_a_tokenizer_that_stops_outside_the_vocabulary_is_refused() -> None:
    with pytest.raises(MalformedInput, match="stops at id 50"):
        make_plan(llama(), Tokens(50, [2, 50]))
