"""Multipliers and soft-caps of a family's graph, from its keys and llama.cpp's constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llorch.runtime.from_gguf.keys import Keys, Sizes
from llorch.runtime.from_gguf.rope import log_multiplier, mscale

LAYERS_OF_27B = {
    "gemma2": 46,
    "gemma3": 62,
}  # whose attention scale is by n_embd / n_head: src/models/gemma{2,3}.cpp


@dataclass(frozen=True, slots=True)
class Scales:
    """The fields of the same names in `Traits`."""

    attention: float
    embedding: float = 1.0
    residual: float = 1.0
    logit: float = 1.0
    value: float = 1.0
    attention_softcap: float | None = None
    logit_softcap: float | None = None


def read_scales(keys: Keys, sizes: Sizes) -> Scales:
    """The multipliers and soft-caps of the file's family."""
    attention = 1 / math.sqrt(sizes.head_dim or 1)
    match keys.family.scales:
        case "plain":
            return Scales(attention)
        case "values":
            return Scales(attention, value=keys.number("attention.value_scale", 0.0) or 1.0)
        case "unscaled":
            return Scales(1.0)
        case "gemma":
            return Scales(attention, embedding=math.sqrt(sizes.hidden))
        case "gemma2" | "gemma3":
            return _gemma(keys, sizes)
        case "gemma4":
            cap = keys.number("final_logit_softcapping", 0.0) or None
            return Scales(1.0, embedding=math.sqrt(sizes.hidden), logit_softcap=cap)
        case "latent":
            return Scales(_latent(keys))
        case "granite":
            return _granite(keys, attention)
        case "minicpm":
            return _minicpm(keys, sizes, attention)
        case "command-r":
            return Scales(attention, logit=keys.number("logit_scale", 0.0) or 1.0)


def _latent(keys: Keys) -> float:
    """By the whole head's width, times YaRN's multiplier squared. Source: src/models/deepseek2.cpp, `kq_scale`."""
    whole = keys.positive("attention.key_length_mla", keys.positive("attention.key_length"))
    grown = 1.0
    if keys.text("rope.scaling.type", "") == "yarn":
        grown = mscale(keys.number("rope.scaling.factor", 1.0) or 1.0, log_multiplier(keys))
    return grown * grown / math.sqrt(whole)


def _gemma(keys: Keys, sizes: Sizes) -> Scales:
    capped = keys.family.scales == "gemma2"
    per_head = (
        sizes.hidden // sizes.heads if sizes.layers == LAYERS_OF_27B[keys.family.scales] else sizes.head_dim
    )
    return Scales(
        attention=1 / math.sqrt(per_head),
        embedding=math.sqrt(sizes.hidden),
        attention_softcap=(keys.number("attn_logit_softcapping", 50.0) if capped else 0.0) or None,
        logit_softcap=keys.number("final_logit_softcapping", 30.0 if capped else 0.0) or None,
    )


def _minicpm(keys: Keys, sizes: Sizes, attention: float) -> Scales:
    """Granite's, with the released models' values where a key is missing. Source: src/models/minicpm.cpp.

    llama.cpp's default for `logit_scale` is a factor, but the key is a divisor.
    """
    divisor = keys.number("logit_scale", sizes.hidden / 256)
    if divisor == 0:
        raise keys.malformed("logit_scale", "is 0, the logits are divided by it")
    return Scales(
        attention,
        embedding=keys.number("embedding_scale", 12.0),
        residual=keys.number("residual_scale", 1.4 / math.sqrt(sizes.layers)),
        logit=1.0 / divisor,
    )


def _granite(keys: Keys, attention: float) -> Scales:
    divisor = keys.number("logit_scale")
    if divisor == 0:
        raise keys.malformed("logit_scale", "is 0, the logits are divided by it")
    return Scales(
        attention=keys.number("attention.scale", 0.0) or attention,
        embedding=keys.number("embedding_scale", 0.0) or 1.0,
        residual=keys.number("residual_scale", 0.0) or 1.0,
        logit=1.0 / divisor,
    )
