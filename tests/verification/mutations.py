"""Wrong folders, for every kind of operation and trait: the change, the check that catches it, and the place.

The place is a regular expression that what the check says of where it lies must match.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.verification.planting import Planted, Weights

Plant = Callable[[Planted], object]
LAYER = "model.layers.1."


@dataclass(frozen=True)
class Mutation:
    """model: a folder of the tiny models. caught_by: checks that each must fail."""

    model: str
    name: str
    plant: Plant
    caught_by: Sequence[tuple[str, str]]


MUTATIONS: list[Mutation] = []


def mutation(model: str, name: str, plant: Plant, *caught_by: tuple[str, str]) -> None:
    MUTATIONS.append(Mutation(model, name, plant, caught_by))


def weights(model: str, name: str, tensor: str, change: Callable[[Weights], Weights], place: str) -> None:
    """Return a change of a tensor, caught by its bits and at the first step that differs."""
    mutation(
        model,
        name,
        lambda pair: pair.change(tensor, change),
        ("round_trip", tensor.replace(".", r"\.")),
        ("lockstep", place),
    )


def config(model: str, name: str, changes: dict[str, Any], *caught_by: tuple[str, str]) -> None:
    mutation(model, name, lambda pair: pair.edit("config.json", **changes), *caught_by)


def rope(
    model: str, name: str, change: Callable[[dict[str, Any]], dict[str, Any]], *caught_by: tuple[str, str]
) -> None:
    """Return a change of config.json's rotary parameters, in the spellings of transformers 4 and 5."""

    def plant(pair: Planted) -> None:
        document = pair.json("config.json")
        changed = change(document["rope_parameters"])
        assert changed != document["rope_parameters"]
        older = {key: changed[key] for key in ("rope_theta",) if key in changed and key in document}
        scaling = {key: value for key, value in changed.items() if key != "rope_theta"}
        if "rope_scaling" in document:
            older["rope_scaling"] = scaling
        pair.write("config.json", document | {"rope_parameters": changed} | older)

    mutation(model, name, plant, *caught_by)


def tokenizer(model: str, name: str, change: Callable[[Any], None], *caught_by: tuple[str, str]) -> None:
    def plant(pair: Planted) -> None:
        document = pair.json("tokenizer.json")
        before = json.dumps(document)
        change(document)
        assert json.dumps(document) != before
        pair.write("tokenizer.json", document)

    mutation(model, name, plant, *caught_by)


def swapped(one: int, other: int, axis: int = 0) -> Callable[[Weights], Weights]:
    """Return a change that swaps two rows, or columns."""

    def change(w: Weights) -> Weights:
        order = list(range(w.shape[axis]))
        order[one], order[other] = order[other], order[one]
        return np.take(w, order, axis)

    return change


def halves_to_pairs(heads: int) -> Callable[[Weights], Weights]:
    """Return a change to rows as if q or k had not been permuted."""

    def change(w: Weights) -> Weights:
        return w.reshape(heads, 2, -1, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)

    return change


def rolled_heads(heads: int) -> Callable[[Weights], Weights]:
    return lambda w: np.roll(w.reshape(heads, -1, *w.shape[1:]), 1, 0).reshape(w.shape)


def scaled(factor: float) -> Callable[[Weights], Weights]:
    return lambda w: w * np.float32(factor)


def plus(offset: float) -> Callable[[Weights], Weights]:
    return lambda w: w + np.float32(offset)


def zeroed(w: Weights) -> Weights:
    return np.zeros_like(w)


def block_of_zeros(w: Weights) -> Weights:
    w[3, 32:64] = 0
    return w


def one_weight(w: Weights) -> Weights:
    w[3, 7] = w[3, 7] * 256 + 4
    return w


def last_bit(w: Weights) -> Weights:
    w.view("<u4")[3, 7] ^= 1
    return w


ATTENTION, MLP = f"{LAYER}self_attn.", f"{LAYER}mlp."
EXPERT_1 = f"{LAYER}block_sparse_moe.experts.1"

# Rows and columns that stand for something else, in a llama.
weights(
    "llama", "embedding rows exchanged", "model.embed_tokens.weight", lambda w: np.roll(w, 1, 0), "embedding"
)
weights("llama", "embedding scaled", "model.embed_tokens.weight", scaled(1.001), r"embedding.*1\.001 times")
weights("llama", "q not permuted", f"{ATTENTION}q_proj.weight", halves_to_pairs(8), "layer 1, q: permutation")
weights("llama", "k not permuted", f"{ATTENTION}k_proj.weight", halves_to_pairs(2), "layer 1, k: permutation")
weights("llama", "heads of q rolled", f"{ATTENTION}q_proj.weight", rolled_heads(8), "layer 1, q: permutation")
weights("llama", "heads of k rolled", f"{ATTENTION}k_proj.weight", rolled_heads(2), "layer 1, k: permutation")
weights(
    "llama",
    "one row of q of another channel",
    f"{ATTENTION}q_proj.weight",
    swapped(33, 34),
    "layer 1, q: permu",
)
weights("llama", "heads of v rolled", f"{ATTENTION}v_proj.weight", rolled_heads(2), "layer 1, v")
weights("llama", "rows of v exchanged", f"{ATTENTION}v_proj.weight", swapped(1, 2), "layer 1, v")
weights(
    "llama",
    "columns of o exchanged",
    f"{ATTENTION}o_proj.weight",
    swapped(1, 2, 1),
    "layer 1, attention_output",
)
weights("llama", "o transposed", f"{ATTENTION}o_proj.weight", lambda w: w.T, "layer 1, attention_output")
weights(
    "llama",
    "a row of gate negated",
    f"{MLP}gate_proj.weight",
    lambda w: np.vstack([-w[:1], w[1:]]),
    "layer 1, ffn_output.*gate",
)
weights("llama", "rows of up exchanged", f"{MLP}up_proj.weight", swapped(1, 2), "layer 1, ffn_output.*up")
weights(
    "llama", "rows of down exchanged", f"{MLP}down_proj.weight", swapped(1, 2), "layer 1, ffn_output.*down"
)
weights(
    "llama",
    "columns of down rolled",
    f"{MLP}down_proj.weight",
    lambda w: np.roll(w, 1, 1),
    "layer 1, ffn_output.*down",
)
weights("llama", "a block of down is zero", f"{MLP}down_proj.weight", block_of_zeros, "layer 1, ffn_output")
weights("llama", "one weight of down is large", f"{MLP}down_proj.weight", one_weight, "layer 1, ffn_output")
weights("llama", "one weight of q is large", f"{ATTENTION}q_proj.weight", one_weight, "layer 1, q: .*heads 0")
weights("llama", "one added to a norm", f"{LAYER}input_layernorm.weight", plus(1), "layer 1, attention_norm")
weights(
    "llama",
    "a norm scaled",
    f"{LAYER}post_attention_layernorm.weight",
    scaled(1.01),
    r"layer 1, ffn_norm.*1\.01 times",
)
weights("llama", "one added to the final norm", "model.norm.weight", plus(1), "final_norm")
weights(
    "llama",
    "channels of a norm rolled",
    f"{LAYER}input_layernorm.weight",
    lambda w: np.roll(w, 1),
    "layer 1, attention_norm",
)
weights(
    "llama",
    "a tensor of the last layer scaled",
    "model.layers.2.mlp.up_proj.weight",
    scaled(0.99),
    "layer 2, ffn_output.*up",
)
mutation(
    "llama", "the last bit of one weight", lambda pair: pair.change(f"{MLP}up_proj.weight", last_bit),
    ("round_trip", r"mlp\.up_proj\.weight, from weight 775 "),
)  # fmt: skip
mutation(
    "llama", "gate and up exchanged", lambda pair: pair.exchange(f"{MLP}gate_proj.weight", f"{MLP}up_proj.weight"),
    ("round_trip", "gate_proj|up_proj"), ("lockstep", "layer 1, ffn_output: feed-forward: gate and up are exchanged"),
)  # fmt: skip
mutation(
    "llama", "two layers' down exchanged",
    lambda pair: pair.exchange("model.layers.0.mlp.down_proj.weight", "model.layers.2.mlp.down_proj.weight"),
    ("round_trip", "down_proj"), ("lockstep", "layer 0, ffn_output"),
)  # fmt: skip
mutation(
    "llama", "two layers' norms exchanged",
    lambda pair: pair.exchange(f"{LAYER}input_layernorm.weight", "model.layers.2.input_layernorm.weight"),
    ("round_trip", "input_layernorm"), ("lockstep", "layer 1, attention_norm"),
)  # fmt: skip
mutation(
    "llama", "rows of the output layer exchanged",
    lambda pair: pair.change("lm_head.weight", lambda w: np.roll(w, 1, 0)),
    ("round_trip", r"lm_head\.weight"), ("logits.worst", "position"), ("logits.mean", "position"),
    ("logits.top", "position"), ("generate.greedy", "token"), ("logits.long", "token"),
)  # fmt: skip
mutation(
    "llama", "two rows of unused tokens in the output layer",
    lambda pair: pair.change("lm_head.weight", swapped(370, 371)),
    ("round_trip", r"lm_head\.weight"),
)  # fmt: skip

# Biases, fused tensors, norms of heads and of branches, experts.
weights("qwen2", "bias of q is zero", f"{ATTENTION}q_proj.bias", zeroed, "layer 1, q")
weights("qwen2", "bias of k negated", f"{ATTENTION}k_proj.bias", scaled(-1), "layer 1, k")
weights("qwen2", "bias of v moved", f"{ATTENTION}v_proj.bias", lambda w: np.roll(w, 1), "layer 1, v")
weights("phi2", "bias of a norm is zero", f"{LAYER}input_layernorm.bias", zeroed, "layer 1, attention_norm")
weights(
    "phi2",
    "bias of the output product is zero",
    f"{ATTENTION}dense.bias",
    zeroed,
    "layer 1, attention_output",
)
weights("phi2", "bias of up is zero", f"{MLP}fc1.bias", zeroed, "layer 1, ffn_output.*up")
weights("phi2", "bias of down is zero", f"{MLP}fc2.bias", zeroed, "layer 1, ffn_output.*down")
weights(
    "phi2",
    "bias of the final norm moved",
    "model.final_layernorm.bias",
    lambda w: np.roll(w, 1),
    "final_norm",
)
mutation(
    "phi2", "bias of the output layer is zero", lambda pair: pair.change("lm_head.bias", zeroed),
    ("round_trip", r"lm_head\.bias"), ("logits.worst", "position"),
)  # fmt: skip
weights(
    "phi3",
    "fused q, k, v in another order",
    f"{ATTENTION}qkv_proj.weight",
    lambda w: np.vstack([w[:256], w[384:], w[256:384]]),
    "layer 1, (v|k)",
)
weights(
    "phi3",
    "fused gate and up in another order",
    f"{MLP}gate_up_proj.weight",
    lambda w: np.roll(w, len(w) // 2, 0),
    "layer 1, ffn_output: feed-forward: gate and up are exchanged",
)
weights(
    "gemma2",
    "one taken from the norm after attention",
    f"{LAYER}post_attention_layernorm.weight",
    plus(-1),
    "layer 1, attention_output",
)
weights(
    "gemma2",
    "one added to the norm before the feed-forward",
    f"{LAYER}pre_feedforward_layernorm.weight",
    plus(1),
    "layer 1, ffn_norm",
)
weights(
    "gemma2",
    "one added to the norm after the feed-forward",
    f"{LAYER}post_feedforward_layernorm.weight",
    plus(1),
    "layer 1, ffn_output",
)
weights("gemma3", "norm of queries moved", f"{ATTENTION}q_norm.weight", lambda w: np.roll(w, 1), "layer 1, q")
weights("gemma3", "one added to the norm of keys", f"{ATTENTION}k_norm.weight", plus(1), "layer 1, k")
weights(
    "qwen3", "norm of queries scaled", f"{ATTENTION}q_norm.weight", scaled(1.01), r"layer 1, q: .*1\.01 times"
)
weights(
    "mistral",
    "columns of o moved where heads are wider",
    f"{ATTENTION}o_proj.weight",
    lambda w: np.roll(w, 48, 1),
    "layer 1, attention_output",
)
weights(
    "mixtral",
    "rows of the router exchanged",
    f"{LAYER}block_sparse_moe.gate.weight",
    swapped(0, 1),
    "layer 1, ffn_output: router: the same scores in another order",
)
weights(
    "mixtral",
    "the router scaled",
    f"{LAYER}block_sparse_moe.gate.weight",
    scaled(1.05),
    "layer 1, ffn_output: router: its scores differ",
)
weights(
    "qwen2moe",
    "the shared expert's gate negated",
    f"{MLP}shared_expert_gate.weight",
    scaled(-1),
    "layer 1, ffn_output",
)
weights(
    "qwen2moe",
    "the shared expert's down moved",
    f"{MLP}shared_expert.down_proj.weight",
    lambda w: np.roll(w, 1, 0),
    "layer 1, ffn_output",
)
mutation(
    "mixtral", "an expert's gate and up exchanged",
    lambda pair: pair.exchange(f"{EXPERT_1}.w1.weight", f"{EXPERT_1}.w3.weight"),
    ("round_trip", r"experts\.1\.w"), ("lockstep", "layer 1, ffn_output.*expert"),
)  # fmt: skip
mutation(
    "qwen2moe", "two experts' down exchanged",
    lambda pair: pair.exchange(f"{MLP}experts.0.down_proj.weight", f"{MLP}experts.1.down_proj.weight"),
    ("round_trip", r"experts\.[01]\.down"), ("lockstep", "layer 1, ffn_output.*expert"),
)  # fmt: skip

# What config.json says of the arithmetic.
rope(
    "mistral",
    "rope base a ten thousandth larger",
    lambda r: r | {"rope_theta": r["rope_theta"] * 1.0001},
    ("traits.rope", "layer 0"),
)
rope(
    "mistral",
    "rope base a tenth",
    lambda r: r | {"rope_theta": r["rope_theta"] / 10},
    ("traits.rope", "layer 0"),
    ("lockstep", "layer 0, q: rope"),
)
rope(
    "llama",
    "llama3 factors dropped",
    lambda r: {"rope_type": "default", "rope_theta": r["rope_theta"]},
    ("traits.rope", "layer 0"),
    ("lockstep", "layer 0, q: rope"),
)
rope(
    "llama",
    "llama3 original context doubled",
    lambda r: r | {"original_max_position_embeddings": 80},
    ("traits.rope", "layer 0"),
)
rope("llama", "llama3 factor halved", lambda r: r | {"factor": 4.0}, ("traits.rope", "layer 0"))
rope(
    "qwen2",
    "yarn dropped",
    lambda r: {"rope_type": "default", "rope_theta": r["rope_theta"]},
    ("traits.rope", "layer 0"),
    ("lockstep", "layer 0, q"),
)
rope("qwen2", "yarn factor doubled", lambda r: r | {"factor": 8.0}, ("traits.rope", "layer 0"))
rope(
    "phi3",
    "longrope lists exchanged",
    lambda r: r | {"long_factor": r["short_factor"], "short_factor": r["long_factor"]},
    ("traits.rope", "layer 0"),
)
mutation(
    "mistral", "rope base of transformers 4 alone", lambda pair: pair.edit("config.json", rope_theta=11000.0),
    ("traits.rope", "layer 0, by rope_theta and rope_scaling alone"),
)  # fmt: skip
mutation(
    "llama", "rope base of transformers 5 alone",
    lambda pair: pair.edit(
        "config.json", rope_parameters=pair.json("config.json")["rope_parameters"] | {"rope_theta": 550000.0}
    ),
    ("traits.rope", "layer 0, by rope_parameters alone"),
)  # fmt: skip
config(
    "gemma2",
    "window one shorter",
    {"sliding_window": 31},
    ("traits.structure", "windows"),
    ("lockstep", "layer 0, attention: .*window of 31"),
)
config(
    "gemma2",
    "no layer slides",
    {"layer_types": ["full_attention"] * 4},
    ("traits.structure", "windows"),
    ("lockstep", "layer 0, attention"),
)
config(
    "gemma2",
    "the other layers slide",
    {"layer_types": ["full_attention", "sliding_attention"] * 2},
    ("traits.structure", "windows"),
)
config("phi3", "window dropped", {"sliding_window": None}, ("traits.structure", "windows"))
config(
    "gemma2",
    "soft-cap of scores smaller",
    {"attn_logit_softcapping": 5.0},
    ("traits.numbers", "attention_softcap"),
    ("lockstep", "layer 0, attention"),
)
config(
    "gemma2",
    "soft-cap of logits smaller",
    {"final_logit_softcapping": 9.0},
    ("traits.numbers", "logit_softcap"),
    ("logits.worst", "position"),
)
config(
    "gemma2",
    "scale of queries",
    {"query_pre_attn_scalar": 49},
    ("traits.numbers", "attention_scale"),
    ("lockstep", "layer 0, attention"),
)
config(
    "llama",
    "epsilon ten times larger",
    {"rms_norm_eps": 1e-4},
    ("traits.numbers", "norm_eps"),
    ("lockstep", "layer 0, attention_norm"),
)
config("phi2", "epsilon of layer norms", {"layer_norm_eps": 1e-4}, ("traits.numbers", "norm_eps"))
config(
    "llama",
    "another activation",
    {"hidden_act": "gelu"},
    ("traits.structure", "activation"),
    ("lockstep", "layer 0, ffn_output.*activation"),
)
config(
    "qwen2moe",
    "chosen experts renormalised",
    {"norm_topk_prob": True},
    ("traits.structure", "routing"),
    ("lockstep", "layer 0, ffn_output.*weighed"),
)
config(
    "mixtral",
    "one expert a token",
    {"num_experts_per_tok": 1},
    ("traits.structure", "routing"),
    ("lockstep", "layer 0, ffn_output"),
)
config("llama", "context half as long", {"max_position_embeddings": 128}, ("traits.structure", "n_ctx"))
config(
    "llama", "said to be tied", {"tie_word_embeddings": True}, ("config.tied", "tie_word_embeddings is True")
)
config(
    "qwen2",
    "said not to be tied",
    {"tie_word_embeddings": False},
    ("config.tied", "tie_word_embeddings is False"),
)
config("llama", "wider feed-forward", {"intermediate_size": 512}, ("config.sizes", "intermediate_size"))
config("llama", "one layer less", {"num_hidden_layers": 2}, ("config.sizes", "num_hidden_layers"))
config("llama", "a larger vocabulary", {"vocab_size": 400}, ("config.sizes", "vocab_size"))
config("llama", "another end", {"eos_token_id": 5}, ("config.special_ids", "eos_token_id"))
config("llama", "another beginning", {"bos_token_id": 5}, ("config.special_ids", "bos_token_id"))


def beyond_float16(pair: Planted) -> None:
    pair.change(f"{MLP}down_proj.weight", scaled(1e6))
    pair.edit("config.json", dtype="float16")


mutation("llama", "activations that float16 cannot hold", beyond_float16, ("transformers.logits", "position"))

# Text.
SPLIT_OF_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def without(part: str) -> Callable[[Any], None]:
    return lambda document: document.update({part: None})


def of_special(change: dict[str, Any]) -> Callable[[Any], None]:
    return lambda document: next(t for t in document["added_tokens"] if t["special"]).update(change)


def drop_added(document: Any) -> None:
    document["added_tokens"] = [t for t in document["added_tokens"] if not t["special"]]


def gpt2_splits(document: Any) -> None:
    for part in document["pre_tokenizer"]["pretokenizers"]:
        if part["type"] == "Split":
            part["pattern"] = {"Regex": SPLIT_OF_GPT2}


def drop_merges(document: Any) -> None:
    document["model"]["merges"] = document["model"]["merges"][4:]


def exchange_merges(document: Any) -> None:
    merges = document["model"]["merges"]
    merges[-2:] = reversed(merges[-2:])


def exchange_ids(document: Any) -> None:
    vocabulary = document["model"]["vocab"]
    one, other = [token for token in vocabulary if len(token) == 1 and token.isalpha()][:2]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]


tokenizer(
    "llama",
    "a special token is special no more",
    of_special({"special": False}),
    ("tokenizer.special", "special only in the source"),
)
tokenizer(
    "qwen2",
    "the same in another family",
    of_special({"special": False}),
    ("tokenizer.special", "special only in the source"),
)
tokenizer(
    "mistral",
    "the same in SentencePiece",
    of_special({"special": False}),
    ("tokenizer.special", "special only in the source"),
)
tokenizer(
    "llama",
    "a special token eats blanks",
    of_special({"lstrip": True}),
    ("tokenizer.special", "in the source"),
)
tokenizer(
    "llama",
    "special tokens are cut to pieces",
    drop_added,
    ("tokenizer.special", "added token only in the source"),
)
tokenizer("llama", "another family's splits", gpt2_splits, ("tokenizer.splits", "in the source"))
tokenizer("qwen2", "another family's splits", gpt2_splits, ("tokenizer.splits", "in the source"))
tokenizer("qwen3", "no normal form", without("normalizer"), ("tokenizer.splits", "in the source"))
tokenizer("gemma2", "blanks are not marked", without("normalizer"), ("tokenizer.ids", "in the source"))
tokenizer("llama", "ids are not turned to text", without("decoder"), ("tokenizer.decoded", "in the source"))
tokenizer(
    "mistral", "pieces are not turned to text", without("decoder"), ("tokenizer.decoded", "in the source")
)
tokenizer(
    "llama",
    "merges are lost",
    drop_merges,
    ("transformers.tokens", "by AutoTokenizer"),
    ("tokenizer.ids", "in the source"),
)
tokenizer("llama", "the last two merges exchanged", exchange_merges, ("tokenizer.merges", "number"))
tokenizer("llama", "two ids exchanged", exchange_ids, ("tokenizer.vocabulary", "in the source"))
tokenizer(
    "mistral",
    "no bytes for unknown characters",
    lambda d: d["model"].update({"byte_fallback": False}),
    ("tokenizer.ids", "in the source"),
)
tokenizer(
    "llama", "long texts are cut short",
    lambda d: d.update(truncation={"direction": "Right", "max_length": 512, "strategy": "LongestFirst", "stride": 0}),
    ("tokenizer.splits", "truncation"),
)  # fmt: skip
tokenizer("llama", "no token at the beginning", without("post_processor"), ("tokenizer.ids", "in the source"))
mutation(
    "llama", "generation ends elsewhere", lambda pair: pair.edit("generation_config.json", eos_token_id=5),
    ("tokenizer.end_ids", "5 ends only in the folder|ends only in the source"),
)  # fmt: skip
mutation(
    "llama", "a blank at the template's end",
    lambda pair: pair.write("chat_template.jinja", (pair.folder / "chat_template.jinja").read_text() + " "),
    ("template.text", "chat_template.jinja differs"),
)  # fmt: skip


# Bytes.
def cut_short(pair: Planted) -> None:
    path = pair.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    pair.own_up("model.safetensors")


def renamed(pair: Planted) -> None:
    path = pair.folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b"layers.1.mlp.up_proj", b"layers.1.mlp.xp_proj"))
    pair.own_up("model.safetensors")


def unowned(pair: Planted) -> None:
    path = pair.folder / "config.json"
    path.write_text(path.read_text() + " ")


mutation("llama", "the weights are cut short", cut_short, ("safetensors.structure", r"model\.safetensors"))
mutation(
    "llama",
    "a tensor under another name",
    renamed,
    ("tensors.planned", r"model\.layers\.1\.mlp\.up_proj\.weight is missing"),
)
mutation("llama", "a file changed after it was recorded", unowned, ("files.digests", r"config\.json"))
mutation(
    "llama",
    "a file is gone",
    lambda pair: (pair.folder / "tokenizer_config.json").unlink(),
    ("files.listed", r"tokenizer_config\.json' is missing"),
)
mutation(
    "llama",
    "an adapter beside the weights",
    lambda pair: (pair.folder / "adapter_model.safetensors").write_bytes(b""),
    ("files.listed", "adapter_model"),
)
