"""Read a folder as transformers does: config.json as `Traits`, safetensors files as weights for the decoder.

This reading uses neither the converter nor the GGUF reading: their agreement means something only because of that.
`read_traits` needs no torch; `weights.build_weights` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist

from llorch.formats import SafetensorsModel, read_safetensors
from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.families import ClassFacts
from llorch.runtime.from_folder.layout import (
    Structure,
    check_counts,
    check_layout,
    gates_heads,
    is_parallel,
    plain_norm,
    read_structure,
)
from llorch.runtime.from_folder.rope import FULL, SLIDING, latent_scale, ropes, rotated_layers
from llorch.runtime.from_folder.routing import read_routing
from llorch.runtime.from_folder.sizes import Sizes, read_sizes
from llorch.runtime.traits import (
    Activation,
    FfnKind,
    Heads,
    Latent,
    Rope,
    Streams,
    Temperature,
    Traits,
    common_heads,
)

# transformers, activations.py: gelu_new and gelu_pytorch_tanh are the same formula
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu2": "relu2",
    "xielu": "xielu",
}


# For classes that read no key for it.
FIXED_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "clamped_swiglu": "clamped_swiglu",
    "gelu": "gelu",
    "gelu_tanh": "gelu_tanh",
}


@dataclass(frozen=True, slots=True)
class Read:
    """All that is known of a folder before its weights are read."""

    traits: Traits
    family: ClassFacts
    sizes: Sizes
    structure: Structure
    stored: SafetensorsModel


def read_traits(folder: Path) -> Read:
    """The traits of the model that config.json describes, with the tensors checked against it; reads no weights."""
    config = Config.of_folder(folder)
    sizes = read_sizes(config)
    stored = read_safetensors(folder, links=True)  # links: a Hub cache consists of them
    check_counts(stored.tensors, sizes, folder)
    structure = read_structure(config, sizes)
    check_layout(stored.tensors, config, sizes, structure, folder)
    return Read(_traits(config, sizes, structure), config.family, sizes, structure, stored)


def traits_of_config(config: Config) -> Traits:
    """The traits of the model that a config.json describes, without looking at any tensor."""
    sizes = read_sizes(config)
    return _traits(config, sizes, read_structure(config, sizes))


def _traits(config: Config, sizes: Sizes, structure: Structure) -> Traits:
    family, kinds = config.family, structure.kinds
    common = common_heads([kind.mixer for kind in kinds], sizes.heads)
    types = _layer_types(config, sizes.layers)
    layer_ropes = _ropes(config, sizes, structure, types if family.nested_rope else [FULL] * sizes.layers)
    return Traits(
        vocabulary_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        n_ctx=config.positive("max_position_embeddings"),
        heads=common.heads,
        kv_heads=common.kv_heads,
        head_dim=common.head_dim,
        norm="rms" if _rms_eps(config) else family.norm,
        norm_eps=_rms_eps(config) or config.number(family.eps),
        activation=_activation(config),
        windows=_windows(config, types),
        ropes=layer_ropes,
        attention_scale=_attention_scale(config, sizes),
        norm_offset=family.norm_offset,
        pairs=family.pairs,
        head_norm=family.head_norm if structure.has("q_norm") or plain_norm(config) else None,
        parallel=is_parallel(config),
        two_norms=is_parallel(config) and structure.has("ffn_norm"),
        chunks=_chunks(config, sizes.layers),
        alibi=_alibi(config),
        learned_positions="positions" in structure.outside,
        embedding_norm="embedding_norm" in structure.outside,
        qkv_clamp=_clamp(config),
        plain_head_norm=plain_norm(config),
        streams=_streams(config),
        sparsity=_sparsity(config, sizes.layers),
        routing=read_routing(config),
        mixers=() if all(kind.mixer == common for kind in kinds) else tuple(kind.mixer for kind in kinds),
        ffns=_networks([kind.ffn for kind in kinds]),
        keys_from=()
        if all(kind.keys_from == layer for layer, kind in enumerate(kinds))
        else tuple(kind.keys_from for kind in kinds),
        output_gate=family.output_gate or structure.has("output_gate"),
        softplus_gate=family.softplus_gate is not None,
        head_gate=gates_heads(config),
        sinks=family.sinks,
        value_norm=family.value_norm,
        value_scale=_value_scale(config),
        sub_norms=structure.has("attention_sub_norm"),
        head_norm_after_rope=family.head_norm_after_rope
        and (plain_norm(config) or family.plain_head_norm is None),
        layer_embedding=config.integer("hidden_size_per_layer_input")
        if "layer_embeddings" in structure.outside
        else 0,
        temperature=_temperature(config),
        embedding_scale=_embedding_scale(config, sizes),
        residual_scale=_residual_scale(config, sizes),
        logit_scale=_logit_scale(config, sizes),
        attention_softcap=_softcap(config, family.attention_softcap),
        logit_softcap=_softcap(config, family.logit_softcap),
    )


def _networks(kinds: list[FfnKind]) -> tuple[FfnKind, ...]:
    """Each layer's kind of network; empty if all layers have one and the same kind."""
    return tuple(kinds) if len(set(kinds)) > 1 or "none" in kinds else ()


def _ropes(config: Config, sizes: Sizes, structure: Structure, types: list[str]) -> tuple[Rope | None, ...]:
    """Each layer's RoPE, by its attention type and the width of its heads; None for a layer without."""
    rotates = config.family.rotates
    if isinstance(rotates, str):
        rotates = config.get(rotates) == "rope"
    if not rotates:
        return (None,) * sizes.layers
    widths = []
    for kind in structure.kinds:
        match kind.mixer:
            case Heads():
                widths.append(kind.mixer.head_dim)
            case Latent():
                widths.append(kind.mixer.rope)
            case _:
                widths.append(sizes.head_dim)
    all_ropes = ropes(config, widths, types)
    windows = _windows(config, _layer_types(config, sizes.layers))
    if config.family.full_attention_rope is True or not any(windows):
        return all_ropes
    rotated = [window is not None for window in windows]
    if config.family.full_attention_rope == "where dense" and config.integer(PREFIX_PATTERN) == 1:
        rotated = [one or kind.ffn == "dense" for one, kind in zip(rotated, structure.kinds, strict=True)]
    return tuple(rope if one else None for rope, one in zip(all_ropes, rotated, strict=True))


PREFIX_PATTERN = "prefix_dense_sliding_window_pattern"


def _rms_eps(config: Config) -> float | None:
    """The epsilon that selects RMS norms; None for the usual kind of norm of the class."""
    key = config.family.rms_eps
    return None if key is None or config.get(key) is None else config.number(key)


def _temperature(config: Config) -> Temperature | None:
    """Query scale by position.

    Sources: transformers, models/ministral3, `get_llama_4_attn_scale`; models/llama4, `Llama4TextAttention`.
    """
    if config.family.floor_temperature:
        if not config.flag("attn_temperature_tuning"):
            return None
        return Temperature(
            config.number("attn_scale"), config.positive("floor_scale"), 1, unrotated_only=True
        )
    parameters = config.part("rope_parameters") if config.family.temperature else None
    if parameters is None or not parameters.get("llama_4_scaling_beta", None):
        return None
    return Temperature(
        parameters.number("llama_4_scaling_beta"), parameters.positive("original_max_position_embeddings")
    )


def _activation(config: Config) -> Activation:
    if config.family.fixed_activation is not None:
        return FIXED_ACTIVATIONS[config.family.fixed_activation]
    key = config.family.activation
    name = config.text(key)
    if name not in ACTIVATIONS:
        raise config.unsupported(key, f"is {name!r}; known are {', '.join(ACTIVATIONS)}")
    # GemmaConfig replaces the early releases' `gelu` by the tanh form that they were trained with
    return "gelu_tanh" if name == "gelu" and config.text("model_type") == "gemma" else ACTIVATIONS[name]


def _layer_types(config: Config, layers: int) -> list[str]:
    """Each layer's type of attention: as listed, or as the configuration class derives it."""
    if config.family.windows != "layer types":
        return [FULL if config.family.windows == "no layers" else SLIDING] * layers
    listed = config.get("layer_types", None)
    if listed is None:
        return [SLIDING if slides else FULL for slides in _sliding_by_default(config, layers)]
    if not isinstance(listed, list) or len(listed) != layers:
        raise config.malformed("layer_types", f"is not a list of {layers}")
    unknown = sorted({str(kind) for kind in listed} - {FULL, SLIDING} - set(config.family.more_types))
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
        case "full first":
            return [layer % 4 != 0 for layer in range(layers)]
        case "behind a dense prefix":
            prefix = config.integer("first_k_dense_replace")
            periods = [config.positive(key) for key in (PREFIX_PATTERN, "sliding_window_pattern")]
            within = [(layer, 0) if layer < prefix else (layer - prefix, 1) for layer in range(layers)]
            return [(place + 1) % periods[part] != 0 for place, part in within]
        case "without rope":
            return [not rotated for rotated in rotated_layers(config, layers)]
        case "all full":
            return [False] * layers
        case "sliding first":
            return [layer % 2 == 0 for layer in range(layers)]


def _windows(config: Config, types: list[str]) -> tuple[int | None, ...]:
    switch = config.family.window_switch
    if SLIDING not in types or (switch is not None and not config.flag(switch)):
        return (None,) * len(types)
    before = config.family.window_before
    if before is not None and config.get(before, None) is not None:
        window = config.positive(before) + 1
    elif config.get("sliding_window") is None:
        return (None,) * len(types)
    else:
        window = config.positive("sliding_window")
    return tuple(window if kind == SLIDING else None for kind in types)


def _attention_scale(config: Config, sizes: Sizes) -> float:
    family = config.family
    if family.unscaled_attention or not sizes.heads:
        return 1.0
    if family.mixers == "latent":
        return latent_scale(config)
    if family.attention_multiplier is not None:
        return config.number(family.attention_multiplier)
    if family.attention_scalar is not None:
        return 1 / math.sqrt(config.positive(family.attention_scalar))
    return 1 / math.sqrt(sizes.head_dim)


def _value_scale(config: Config) -> float:
    key = config.family.value_multiplier
    return 1.0 if key is None or config.get(key) is None else config.number(key)


def _embedding_scale(config: Config, sizes: Sizes) -> float:
    switch = config.family.embedding_scale_switch
    if config.family.embedding_scale == "sqrt" and (switch is None or config.flag(switch)):
        return math.sqrt(sizes.hidden)
    return _number(config, config.family.embedding_multiplier, 1.0)


def _residual_scale(config: Config, sizes: Sizes) -> float:
    if config.family.residual_depth is not None:
        return config.number(config.family.residual_depth) / math.sqrt(sizes.layers)
    return _number(config, config.family.residual_multiplier, 1.0)


def _logit_scale(config: Config, sizes: Sizes) -> float:
    if config.family.logit_base is not None:
        return config.positive(config.family.logit_base) / sizes.hidden
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


def _chunks(config: Config, layers: int) -> tuple[int | None, ...]:
    """Chunk size per layer. Source: transformers, models/llama4, which masks by the layers' types."""
    if CHUNKED not in config.family.more_types or config.get("attention_chunk_size") is None:
        return ()
    types = _layer_types(config, layers)
    if config.get("layer_types", None) is None:
        types = [CHUNKED if turns else FULL for turns in rotated_layers(config, layers)]
    size = config.positive("attention_chunk_size")
    return tuple(size if kind == CHUNKED else None for kind in types)


CHUNKED = "chunked_attention"


def _alibi(config: Config) -> float:
    """Largest exponent of the ALiBi slopes; 0 without ALiBi."""
    return config.family.alibi


def _clamp(config: Config) -> float | None:
    if config.family.clamp is None:
        return None
    *within, key = config.family.clamp.split(".")
    part = config.part(within[0]) if within else config
    return None if part is None or part.get(key, None) is None else part.number(key) or None


def _streams(config: Config) -> Streams | None:
    if not config.family.streams:
        return None
    count, active = config.positive("altup_num_inputs"), config.integer("altup_active_idx")
    if not 0 <= active < count:
        raise config.malformed("altup_active_idx", f"is {active} of {count}")
    return Streams(count, active)


def _sparsity(config: Config, layers: int) -> tuple[float | None, ...]:
    """Standard deviations above the mean, per layer: the normal quantile of the share of gates to drop.

    Source: transformers, models/gemma3n, `Gemma3nTextMLP._gaussian_topk`.
    """
    if not config.family.streams:
        return ()
    listed = config.get("activation_sparsity_pattern", None)
    if listed is None:
        sparse = SPARSE_LAYERS if layers > SPARSE_LAYERS else 0
        shares: tuple[float, ...] = (0.95,) * sparse + (0.0,) * (layers - sparse)
    else:
        shares = config.numbers("activation_sparsity_pattern")
    if len(shares) != layers or not all(0 <= share < 1 for share in shares):
        raise config.malformed("activation_sparsity_pattern", f"is not a list of {layers} shares below 1")
    return tuple(None if share == 0 else NormalDist().inv_cdf(share) for share in shares)


SPARSE_LAYERS = 10
