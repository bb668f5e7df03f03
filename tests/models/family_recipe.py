"""How a tiny random model of a family is made by transformers, and written as llama.cpp's converter would.

As `from_transformers`, whose forward direction is extended here by what single tensors become; each function is written
from llama.cpp's `conversion/` and shares nothing with `converter`. No size is a power of two that would hide a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.models.from_transformers import Array, _add, permuted
from tests.models.vocabularies import VOCAB, Value, byte_level, token_ids

HIDDEN, FF, CONTEXT = 60, 92, 256
Change = Callable[[Array], Mapping[str, Array]]


# Class of transformers → what originals that came before it call it.
PUBLISHED_CLASSES = {"MptForCausalLM": "MPTForCausalLM", "PhimoeForCausalLM": "PhiMoEForCausalLM"}


@dataclass(frozen=True)
class Prediction:
    """A layer that predicts a further token: a file and a folder have it, and transformers' class leaves it out.

    below: what comes before its names in a folder, {m} being its number, from 0. like: the number of the layer whose
    tensors it has too, if any. own: its further tensors, name → shape. count: how many such layers.
    """

    below: str
    like: int | None
    own: Mapping[str, tuple[int, ...]]
    count: int = 1


@dataclass(frozen=True)
class FamilyRecipe:
    """How one model is made and written.

    config: of its config class. names: modules of a layer → GGUF names. outside: the same for the rest.
    changes: tensors of a layer, by all of their name → what they become. joined: GGUF names → the tensors of a layer
    that are one below the other in them. norms_plus_one: but for those of a gate.
    folded: tensors, by the end of their name → the same with what multiplies their product in them, which a file has
        no other place for: a folder holds them so.
    keys: metadata, all of it, under the architecture's prefix but for that of the tokenizer and the like; a value may
        be a function of the original's tensors. tables: `rope_…` tensors → their entries.
    layers: what stands before a layer's number. predicts: a layer beyond the model's own. vocabulary: the tokenizer's
        keys.
    """

    gguf: str
    class_name: str
    config: Mapping[str, Any]
    names: Mapping[str, str]
    keys: Mapping[str, Value | Callable[[Mapping[str, Array]], Value]]
    outside: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, Change] = field(default_factory=dict)
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folded: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict)
    tables: Mapping[str, list[float]] = field(default_factory=dict)
    permuted: bool = False
    norms_plus_one: bool = False
    layers: str = "model.layers"
    predicts: Prediction | None = None
    vocabulary: Mapping[str, Value] = field(default_factory=byte_level)

    @property
    def published_class(self) -> str:
        """The class by the name that the originals' config.json has for it, and the folder's."""
        return PUBLISHED_CLASSES.get(self.class_name, self.class_name)


def renamed(name: str) -> Change:
    """The same numbers under another name."""
    return lambda w: {name: w}


def decay(w: Array) -> Mapping[str, Array]:
    """conversion/base.py: A_log → −exp(A_log)."""
    return {"ssm_a": -np.exp(w)}


def tiled(name: str, groups: int, rows: int, after: int = 0, axis: int = 0) -> Change:
    """conversion/qwen.py, `_reorder_v_heads`: value heads from [group][repeat] to [repeat][group]."""

    def change(w: Array) -> Mapping[str, Array]:
        w = np.moveaxis(w.reshape(w.shape[0], -1) if w.ndim == 3 else w, axis, 0)
        head, rest = w[:after], w[after:]
        moved = rest.reshape(groups, -1, rows, *rest.shape[1:]).swapaxes(0, 1).reshape(rest.shape)
        return {name: np.moveaxis(np.concatenate([head, moved]), 0, axis)}

    return change


def tiled_decay(groups: int) -> Change:
    """Both of the two before."""
    return lambda w: tiled("ssm_a", groups, 1)(-np.exp(w))


def halves(first: str, second: str) -> Change:
    """Gate and up of every expert, one below the other → apart."""
    return lambda w: dict(zip((first, second), np.split(w, 2, axis=-2), strict=True))


def latent(heads: int, nope: int) -> Change:
    """conversion/deepseek.py: kv_b → each head's k_b, transposed, and v_b."""

    def change(w: Array) -> Mapping[str, Array]:
        each = w.reshape(heads, -1, w.shape[-1])
        return {"attn_k_b.weight": each[:, :nope].swapaxes(1, 2), "attn_v_b.weight": each[:, nope:]}

    return change


def transposed(name: str) -> Change:
    """conversion/gpt2.py: matrices that transformers has (in, out)."""
    return lambda w: {name: w.T}


def apart_by_head(name: str, kv_heads: int, group: int) -> Change:
    """conversion/falcon.py, bloom.py, gptneox.py: each key head's queries, key and value → all of each."""

    def change(w: Array) -> Mapping[str, Array]:
        each = w.reshape(kv_heads, group + 2, -1, *w.shape[1:])
        parts = (each[:, :group], each[:, group], each[:, group + 1])
        return {name: np.concatenate([part.reshape(-1, *w.shape[1:]) for part in parts])}

    return change


def qkv_by_head(module: str, kv_heads: int, group: int) -> dict[str, Change]:
    """Its weight and its bias."""
    return {f"{module}.{x}": apart_by_head(f"attn_qkv.{x}", kv_heads, group) for x in ("weight", "bias")}


def column(name: str) -> Change:
    """conversion/mamba.py: a vector as a matrix of one column."""
    return lambda w: {name: w[:, None]}


def squeezed(name: str) -> Change:
    """A convolution's filters without the dimension of 1."""
    return lambda w: {name: w[:, 0]}


def times(*factors: float) -> Callable[[Array], Array]:
    """By one after the other, in float32."""

    def multiplied(w: Array) -> Array:
        for factor in factors:
            w = w * np.float32(factor)
        return w

    return multiplied


def times_by_rows(factor: float, *parts: tuple[int, float]) -> Callable[[Array], Array]:
    """conversion/falcon_h1.py: all rows by one number, then so many of them each by one of their own."""

    def multiplied(w: Array) -> Array:
        rows = [np.full(count, own, np.float32) for count, own in parts]
        return w * np.float32(factor) * np.concatenate(rows)[:, None]

    return multiplied


ATTENTION = {
    f"self_attn.{one}_proj": f"attn_{two}" for one, two in zip("qkvo", ("q", "k", "v", "output"), strict=True)
}
HEAD_NORMS = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
TWO_NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
POST_NORM = {"input_layernorm": "attn_norm", "post_attention_layernorm": "post_attention_norm"}
GATED = {f"mlp.{one}_proj": f"ffn_{one}" for one in ("gate", "up", "down")}
EXPERTS = {
    "mlp.gate": "ffn_gate_inp",
    **{f"mlp.experts.{{e}}.{x}_proj": f"ffn_{x}_exps" for x in ("gate", "up", "down")},
}
SHARED = {f"mlp.shared_experts.{x}_proj": f"ffn_{x}_shexp" for x in ("gate", "up", "down")}
CHOICE_BIAS = {"mlp.gate.e_score_correction_bias": renamed("exp_probs_b.bias")}
RMS = {"attention.layer_norm_rms_epsilon": 1e-5}
ROPE = {"rope_theta": 50000.0, "rope_type": "default"}
THETA = {"rope.freq_base": 50000.0}
HEADS = {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 12}
HEAD_KEYS = {"attention.head_count": 6, "attention.head_count_kv": 3, "attention.key_length": 12,
             "attention.value_length": 12}  # fmt: skip
OF_HIDDEN = {"num_attention_heads": 6, "num_key_value_heads": 3}
OF_HIDDEN_KEYS = {"attention.head_count": 6, "attention.head_count_kv": 3}
MIXTURE_KEYS = {"expert_count": 7, "expert_used_count": 3, "expert_feed_forward_length": 20}
FUSED = {
    "block_sparse_moe.input_linear.weight": halves("ffn_gate_exps.weight", "ffn_up_exps.weight"),
    "block_sparse_moe.output_linear.weight": renamed("ffn_down_exps.weight"),
}
LATENT = {
    **TWO_NORMS, **GATED, **EXPERTS, **SHARED,
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.o_proj": "attn_output", "self_attn.q_proj": "attn_q", "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
}  # fmt: skip
LATENT_CONFIG = {"num_attention_heads": 5, "num_key_value_heads": 5, "kv_lora_rank": 28, "qk_nope_head_dim": 12,
                 "qk_rope_head_dim": 6, "v_head_dim": 10, "moe_intermediate_size": 20, "n_routed_experts": 7,
                 "num_experts_per_tok": 3}  # fmt: skip
LATENT_KEYS = {"attention.head_count": 5, "attention.head_count_kv": 1, "attention.key_length": 34,
               "attention.value_length": 28, "attention.key_length_mla": 18, "attention.value_length_mla": 10,
               "attention.kv_lora_rank": 28, "rope.dimension_count": 6, "leading_dense_block_count": 1}  # fmt: skip

QKV = {f"attn_qkv.{x}": tuple(f"self_attn.{part}_proj.{x}" for part in "qkv") for x in ("weight", "bias")}
LAYER = {"attention.layer_norm_epsilon": 1e-5}
FALCON = {"self_attention.query_key_value": "attn_qkv", "self_attention.dense": "attn_output",
          "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down"}  # fmt: skip
FALCON_OUTSIDE = {"transformer.word_embeddings": "token_embd", "transformer.ln_f": "output_norm"}
GPTNEOX = {
    **TWO_NORMS,
    **{name.replace("self_attention", "attention"): ours for name, ours in FALCON.items()},
}
GPTNEOX_OUTSIDE = {
    "gpt_neox.embed_in": "token_embd",
    "gpt_neox.final_layer_norm": "output_norm",
    "embed_out": "output",
}
GPT2_MATRICES = {
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
GPT2 = {**GPT2_MATRICES, "ln_1": "attn_norm", "ln_2": "ffn_norm"}
GPT2_OUTSIDE = {
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
}


@dataclass(frozen=True)
class MadeFamily:
    """What was made: the GGUF, the tensors that its folder must hold, and the original itself.

    tensors: the original's as transformers saved them, with its multipliers in them where a file has them so.
    """

    gguf: Path
    tensors: Mapping[str, Array]
    model: Any


def make(recipe: FamilyRecipe, seed: int, folder: Path) -> MadeFamily:
    """Makes a recipe's model: the original in `folder`/original, the GGUF as `folder`/model.gguf."""
    import torch
    import transformers
    from safetensors.numpy import load_file

    model_class = getattr(transformers, recipe.class_name)
    common = {
        "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": FF, "num_hidden_layers": 3,
        "max_position_embeddings": CONTEXT, "tie_word_embeddings": False, "rms_norm_eps": 1e-5, "norm_eps": 1e-5,
        **token_ids(recipe.vocabulary),
    }  # fmt: skip
    config_class = model_class.config_class
    config_class = getattr(config_class, "sub_configs", {}).get("text_config", config_class)
    torch.manual_seed(seed)
    model = model_class(config_class(**{**common, **recipe.config})).eval()
    with torch.no_grad():
        for tensor_name, tensor in model.state_dict().items():
            tensor.copy_(_weights(tensor_name, tensor.shape, recipe))
    model.save_pretrained(folder / "original")
    tensors = {
        name: next((fold(w) for end, fold in recipe.folded.items() if name.endswith(end)), w)
        for name, w in load_file(folder / "original" / "model.safetensors").items()
    }
    tensors |= _prediction(recipe, tensors)
    _write(folder / "model.gguf", recipe, model.config, tensors)
    return MadeFamily(folder / "model.gguf", tensors, model)


def _prediction(recipe: FamilyRecipe, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The tensors of the layer beyond the model's own, random."""
    if recipe.predicts is None:
        return {}
    alike = f"{recipe.layers}.{recipe.predicts.like}."
    shapes = {name.removeprefix(alike): w.shape for name, w in tensors.items() if name.startswith(alike)}
    return {
        f"{recipe.predicts.below.format(m=number)}{name}": _weights(name, shape, recipe).numpy()
        for number in range(recipe.predicts.count)
        for name, shape in {**shapes, **recipe.predicts.own}.items()
    }


def _weights(name: str, shape: tuple[int, ...], recipe: FamilyRecipe) -> Any:
    """Random bfloat16 values away from zero: norms and scales around 1, all others around 0."""
    import torch

    random = torch.rand(shape) * 0.4 + 0.05
    signs = torch.where(torch.rand(shape) < 0.5, -1.0, 1.0)
    plain = not recipe.norms_plus_one or name.endswith("linear_attn.norm.weight")
    around_one = ("norm" in name and name.endswith("weight") and plain) or "scal" in name
    return (1 + signs * random if around_one else signs * random).bfloat16().float()


def _write(path: Path, recipe: FamilyRecipe, config: Any, tensors: Mapping[str, Array]) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(path, recipe.gguf)
    keys: dict[str, Value] = {
        "context_length": CONTEXT, "embedding_length": HIDDEN,
        "block_count": config.num_hidden_layers + (0 if recipe.predicts is None else recipe.predicts.count),
        "feed_forward_length": getattr(config, "intermediate_size", FF),
        **{key: value(tensors) if callable(value) else value for key, value in recipe.keys.items()},
    }  # fmt: skip
    whole = {
        key: value for key, value in keys.items() if key.startswith(("general.", "tokenizer.", "xielu."))
    }
    own = {f"{recipe.gguf}.{key}": value for key, value in keys.items() if key not in whole}
    for key, value in {**own, **recipe.vocabulary, **whole}.items():
        _add(writer, key, value)
    written = _forward(recipe, config, tensors)
    written |= {name: np.array(table, np.float32) for name, table in recipe.tables.items()}
    for whole_name in ("altup_proj", "altup_unembd_proj"):  # conversion/gemma.py: one tensor for the three
        if f"{whole_name}.0.weight" in written:
            parts = [written.pop(f"{whole_name}.{s}.weight") for s in range(3)]
            written[f"{whole_name}.weight"] = np.stack(parts)
    for name, tensor in written.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _in_layer(recipe: FamilyRecipe, name: str, layers: int) -> tuple[str, str]:
    """What stands before a tensor's GGUF name, and its own name within the layer."""
    for number in range(0 if recipe.predicts is None else recipe.predicts.count):
        assert recipe.predicts is not None
        if name.startswith(below := recipe.predicts.below.format(m=number)):
            return f"blk.{layers + number}.", name.removeprefix(below)
    found = re.fullmatch(rf"{re.escape(recipe.layers)}\.(\d+)\.(.*)", name)
    assert found is not None, name
    return f"blk.{found[1]}.", found[2]


def _forward(recipe: FamilyRecipe, config: Any, tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Transformers' tensors → GGUF's."""
    outside = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "lm_head": "output",
        **recipe.outside,
    }
    written: dict[str, Array] = {}
    stacks: dict[str, dict[int, Array]] = {}
    parts = {part: (ours, place) for ours, of in recipe.joined.items() for place, part in enumerate(of)}
    joins: dict[str, dict[int, Array]] = {}
    for name, tensor in tensors.items():
        plus_one = recipe.norms_plus_one and name.endswith("norm.weight") and "linear_attn" not in name
        weights = tensor + np.float32(1) if plus_one else tensor
        module, _, kind = name.rpartition(".")
        if module in outside:
            written[f"{outside[module]}.{kind}"] = weights
            continue
        prefix, whole = _in_layer(recipe, name, config.num_hidden_layers)
        if whole in recipe.changes:
            written |= {f"{prefix}{ours}": w for ours, w in recipe.changes[whole](weights).items()}
            continue
        if whole in parts:
            ours, number = parts[whole]
            joins.setdefault(f"{prefix}{ours}", {})[number] = weights
            continue
        place = whole.removesuffix(f".{kind}")
        expert = re.search(r"\.experts\.(\d+)", place)
        ours = recipe.names[place if expert is None else place.replace(f".{expert[1]}", ".{e}", 1)]
        if recipe.permuted and ours in ("attn_q", "attn_k"):
            heads = config.num_attention_heads if ours == "attn_q" else config.num_key_value_heads
            weights = permuted(weights, heads)
        if expert is None:
            written[f"{prefix}{ours}.{kind}"] = weights
        else:
            stacks.setdefault(f"{prefix}{ours}.{kind}", {})[int(expert[1])] = weights
    written |= {name: np.concatenate([join[part] for part in sorted(join)]) for name, join in joins.items()}
    return written | {name: np.stack([stack[e] for e in range(len(stack))]) for name, stack in stacks.items()}
