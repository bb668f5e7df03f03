"""Reads a folder as transformers does: config.json into Traits, safetensors files into weights for the decoder.

Nothing here asks the converter or the GGUF's reading: when both readings agree, that is why it means something.
`read_traits` needs no torch; `weights.build_weights` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from llorch.formats import SafetensorsModel, read_safetensors
from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.families import ClassFacts
from llorch.runtime.from_folder.layout import (
    Sizes,
    Structure,
    check_layout,
    expert_count_key,
    is_parallel,
    read_sizes,
    read_structure,
)
from llorch.runtime.from_folder.rope import FULL, SLIDING, ropes, rotated_layers
from llorch.runtime.traits import Activation, Routing, Traits

# transformers, activations.py: gelu_new and gelu_pytorch_tanh are the same formula
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


@dataclass(frozen=True, slots=True)
class Read:
    """What a folder says before its weights."""

    traits: Traits
    family: ClassFacts
    sizes: Sizes
    structure: Structure
    stored: SafetensorsModel


def read_traits(folder: Path) -> Read:
    """The model that config.json describes, the files' tensors checked against it; no weight is read."""
    config = Config.of_folder(folder)
    family, sizes, structure = config.family, read_sizes(config), read_structure(config)
    stored = read_safetensors(folder, links=True)  # a Hub cache holds nothing else
    check_layout(stored.tensors, family, sizes, structure, folder)
    types = _layer_types(config, sizes.layers)
    traits = Traits(
        vocabulary_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        n_ctx=config.positive("max_position_embeddings"),
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        norm=family.norm,
        norm_eps=config.number(family.eps),
        activation=_activation(config),
        windows=_windows(config, types),
        ropes=ropes(config, sizes.head_dim, types if family.nested_rope else [FULL] * sizes.layers),
        attention_scale=_attention_scale(config, sizes),
        norm_offset=family.norm_offset,
        head_norm=family.head_norm if "q_norm" in structure.roles else None,
        parallel=is_parallel(config),
        routing=_routing(config),
        embedding_scale=_embedding_scale(config, sizes),
        residual_scale=_number(config, family.residual_multiplier, 1.0),
        logit_scale=_logit_scale(config),
        attention_softcap=_softcap(config, family.attention_softcap),
        logit_softcap=_softcap(config, family.logit_softcap),
    )
    return Read(traits, family, sizes, structure, stored)


def _activation(config: Config) -> Activation:
    key = config.family.activation
    name = config.text(key)
    if name not in ACTIVATIONS:
        raise config.unsupported(key, f"is {name!r}; known are {', '.join(ACTIVATIONS)}")
    # GemmaConfig turns the early releases' `gelu` into the tanh form that they were trained with
    return "gelu_tanh" if name == "gelu" and config.text("model_type") == "gemma" else ACTIVATIONS[name]


def _layer_types(config: Config, layers: int) -> list[str]:
    """The kind of every layer's attention: as listed, or as the configuration class makes the list."""
    if config.family.windows != "layer types":
        return [FULL if config.family.windows == "no layers" else SLIDING] * layers
    listed = config.get("layer_types", None)
    if listed is None:
        return [SLIDING if slides else FULL for slides in _sliding_by_default(config, layers)]
    if not isinstance(listed, list) or len(listed) != layers:
        raise config.malformed("layer_types", f"is not a list of {layers}")
    unknown = sorted({str(kind) for kind in listed} - {FULL, SLIDING})
    if unknown:
        raise config.unsupported("layer_types", f"has {', '.join(unknown)}; known are {FULL}, {SLIDING}")
    return [str(kind) for kind in listed]


def _sliding_by_default(config: Config, layers: int) -> list[bool]:
    switch = config.family.window_switch
    if switch is not None and not config.flag(switch):
        return [False] * layers
    match config.family.types:
        case "by depth":
            return [layer >= config.integer("max_window_layers") for layer in range(layers)]
        case "alternating by depth":
            deepest = config.integer("max_window_layers")
            return [layer % 2 == 0 and layer < deepest for layer in range(layers)]
        case "periodic":
            period = config.positive("sliding_window_pattern")
            return [(layer + 1) % period != 0 for layer in range(layers)]
        case "where not rotated":
            return [not rotated for rotated in rotated_layers(config, layers)]
        case "all full":
            return [False] * layers


def _windows(config: Config, types: list[str]) -> tuple[int | None, ...]:
    switch = config.family.window_switch
    if SLIDING not in types or (switch is not None and not config.flag(switch)):
        return (None,) * len(types)
    if config.get("sliding_window") is None:
        return (None,) * len(types)
    window = config.positive("sliding_window")
    return tuple(window if kind == SLIDING else None for kind in types)


def _attention_scale(config: Config, sizes: Sizes) -> float:
    family = config.family
    if family.attention_multiplier is not None:
        return config.number(family.attention_multiplier)
    if family.attention_scalar is not None:
        return 1 / math.sqrt(config.positive(family.attention_scalar))
    return 1 / math.sqrt(sizes.head_dim)


def _embedding_scale(config: Config, sizes: Sizes) -> float:
    if config.family.embedding_scale == "sqrt":
        return math.sqrt(sizes.hidden)
    return _number(config, config.family.embedding_multiplier, 1.0)


def _logit_scale(config: Config) -> float:
    divisor = _number(config, config.family.logit_divisor, 1.0)
    if divisor == 0:
        raise config.malformed(config.family.logit_divisor or "", "is 0, the logits are divided by it")
    return _number(config, config.family.logit_multiplier, 1.0) / divisor


def _number(config: Config, key: str | None, default: float) -> float:
    return default if key is None else config.number(key)


def _softcap(config: Config, key: str | None) -> float | None:
    if key is None or config.get(key) is None:
        return None
    cap = config.number(key)
    if cap <= 0:
        raise config.malformed(key, f"is {cap}, expected a positive number")
    return cap


def _routing(config: Config) -> Routing | None:
    experts = config.family.experts
    if experts is None:
        return None
    count, used = config.positive(expert_count_key(config)), config.positive("num_experts_per_tok")
    if used > count:
        raise config.malformed("num_experts_per_tok", f"is {used}, there are {count} experts")
    by = experts.renormalised
    return Routing(count, used, config.flag(by) if isinstance(by, str) else by)
