"""Each layer's kind in a folder: which mixer and which feed-forward network, by the keys that transformers uses.

Sources: transformers 5.23, models/<model_type>/modeling_*.py and configuration_*.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from llorch.runtime.from_folder.config import Config
from llorch.runtime.traits import (
    DeltaNet,
    FfnKind,
    Heads,
    HeadsAndSpace,
    Latent,
    Mamba,
    Mamba2,
    Mixer,
    NoMixer,
    ShortConv,
    parts,
)


@dataclass(frozen=True, slots=True)
class LayerKind:
    """One layer: its mixer, its feed-forward network, and the layer whose keys and values it reads.

    words: select the layer's tensor names in `ClassFacts.by_kind`.
    """

    mixer: Mixer
    ffn: FfnKind
    keys_from: int
    words: frozenset[str]


def read_kinds(config: Config, usual: Heads, layers: int) -> list[LayerKind]:
    """All layers' kinds. usual: the heads that config.json's model-wide keys give."""
    mixers = MIXERS[config.family.mixers](config, usual, layers)
    ffns = FFNS[config.family.ffns](config, layers)
    shared = config.integer("num_kv_shared_layers", 0) if config.family.shares_keys else 0
    sources = _sources(config, layers, shared)
    return [
        LayerKind(
            mixer,
            ffn,
            source,
            frozenset({ffn, *_kind_words(mixer), *_further_words(config, ffn, source, layer)}),
        )
        for layer, (mixer, ffn, source) in enumerate(zip(mixers, ffns, sources, strict=True))
    ]


WORDS: Mapping[type, str] = {
    Heads: "attention",
    DeltaNet: "delta net",
    Mamba: "mamba",
    Mamba2: "mamba2",
    ShortConv: "short convolution",
    Latent: "latent",
    NoMixer: "no mixer",
}


def _kind_words(mixer: Mixer) -> list[str]:
    return [WORDS[type(part)] for part in parts(mixer)]


def _further_words(config: Config, ffn: FfnKind, source: int, layer: int) -> list[str]:
    """Further words, beside the kinds of mixer and network."""
    more = ["own keys"] if source == layer else []
    if source == layer and not _keys_are_values(config, layer):
        more.append("own keys and values")
    if config.family.layer_embedding and config.integer("hidden_size_per_layer_input"):
        more.append("layer embedding")
    if config.family.norm_count is not None:
        more.append("two norms" if _norms(config) == 2 else "one norm")
    if config.family.normed_space is not None and config.flag(config.family.normed_space):
        more.append("normed space")
    if _shares_experts(config) and ffn == "mixture":
        more.append("shared experts")
    if config.family.mixers == "doubled key-value heads":
        more.append(layer_types(config)[layer])
    if config.family.mixers == "latent":
        more.append("whole queries" if config.get("q_lora_rank") is None else "low rank queries")
    return more


def _shares_experts(config: Config) -> bool:
    """Whether there are shared experts."""
    experts = config.family.experts
    keys = () if experts is None else (experts.shared_width, experts.shared_count)
    return bool(keys) and all(bool(config.get(key, None)) for key in keys if key is not None)


def _norms(config: Config) -> int:
    """Number of norms before a block. Source: transformers, models/falcon, `FalconDecoderLayer.__init__`."""
    count, new = config.get(config.family.norm_count or "", None), config.flag("new_decoder_architecture")
    return (2 if count is None or count == 2 else 1) if new else 1


def _keys_are_values(config: Config, layer: int) -> bool:
    return (
        config.family.keys_as_values
        and config.flag("attention_k_eq_v")
        and layer_types(config)[layer] == "full_attention"
    )


def layer_types(config: Config) -> list[str]:
    """The list of layer types in config.json."""
    listed = config.get(config.family.types_key)
    if not isinstance(listed, list):
        raise config.malformed(config.family.types_key, "is not a list")
    return [str(kind) for kind in listed]


def _list_mixers(config: Config, layers: int, kinds: Mapping[str, Mixer]) -> list[Mixer]:
    types = layer_types(config)
    if len(types) != layers:
        raise config.malformed(config.family.types_key, f"is not a list of {layers}")
    unknown = sorted(set(types) - kinds.keys())
    if unknown:
        known = ", ".join(sorted(kinds))
        raise config.unsupported(config.family.types_key, f"has {', '.join(unknown)}; known are {known}")
    return [kinds[kind] for kind in types]


def _sources(config: Config, layers: int, shared: int) -> list[int]:
    """The layer whose keys each layer reads: for the last `shared` layers, the last of their type that has its own."""
    sources = list(range(layers))
    if not shared:
        return sources
    types, own = layer_types(config), layers - shared
    for layer in range(own, layers):
        alike = [before for before in range(own) if types[before] == types[layer]]
        if not alike:
            raise config.malformed(
                "num_kv_shared_layers", f"is {shared}: layer {layer} has none to share with"
            )
        sources[layer] = alike[-1]
    return sources


def _attention(_: Config, usual: Heads, layers: int) -> list[Mixer]:
    return [usual] * layers


def _delta_net(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    value_heads, key_heads = (
        config.positive("linear_num_value_heads"),
        config.positive("linear_num_key_heads"),
    )
    if value_heads % key_heads:
        raise config.malformed("linear_num_value_heads", f"is {value_heads}, no multiple of {key_heads}")
    net = DeltaNet(
        key_heads,
        value_heads,
        config.positive("linear_key_head_dim"),
        config.positive("linear_value_head_dim"),
        config.positive("linear_conv_kernel_dim"),
    )
    return _list_mixers(config, layers, {"linear_attention": net, "full_attention": usual})


GRANITE_MAMBA2 = ("mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_d_conv")


def _granite_hybrid(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    mamba = _mamba2(config, *GRANITE_MAMBA2)
    kinds: dict[str, Mixer] = {"mamba": mamba, "linear_attention": mamba}
    return _list_mixers(config, layers, {**kinds, "attention": usual, "full_attention": usual})


def _falcon_h1(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    """Source: transformers, models/falcon_h1. Its norm of the state space before the gate is not supported."""
    inner = int(config.number("mamba_expand") * config.positive("hidden_size"))
    if config.get("mamba_d_ssm") is not None:
        inner = config.positive("mamba_d_ssm")
    if config.get("mamba_d_head") == "auto":
        each = inner // config.positive("mamba_n_heads")
        config = Config({**config.values, "mamba_d_head": each}, config.defaults, config.path)
    space = _mamba2(config, *GRANITE_MAMBA2)
    if space.inner != inner:
        raise config.malformed(
            "mamba_d_ssm", f"is {inner}, and {space.heads} heads have {space.inner} channels"
        )
    if config.flag("mamba_rms_norm") and config.flag("mamba_norm_before_gate"):
        raise config.unsupported("mamba_norm_before_gate", "is true, which this decoder does not compute")
    return [HeadsAndSpace(usual, space)] * layers


def _nemotron_h(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    """Source: transformers, models/nemotron_h, `NemotronHMamba2Mixer.time_step_limit`."""
    mamba = _mamba2(config, "mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel")
    mamba = replace(mamba, least_step=config.number("time_step_min"))
    kinds: dict[str, Mixer] = {"mamba": mamba, "linear_attention": mamba, "mlp": NoMixer(), "moe": NoMixer()}
    return _list_mixers(config, layers, {**kinds, "attention": usual, "full_attention": usual})


def _mamba2(config: Config, heads: str, head_dim: str, groups: str, state: str, taps: str) -> Mamba2:
    found = Mamba2(*(config.positive(key) for key in (heads, head_dim, groups, state, taps)))
    if found.heads % found.groups:
        raise config.malformed(groups, f"is {found.groups}, which does not divide {found.heads} heads")
    return found


def _all_mamba2(config: Config, _: Heads, layers: int) -> list[Mixer]:
    return [_mamba2(config, "num_heads", "head_dim", "n_groups", "state_size", "conv_kernel")] * layers


def _mamba(config: Config, _: Heads, layers: int) -> list[Mixer]:
    hidden = config.positive("hidden_size")
    rank = config.get("time_step_rank")
    return [
        Mamba(
            int(config.number("expand") * hidden),
            -(-hidden // 16) if rank == "auto" else config.positive("time_step_rank"),
            config.positive("state_size"),
            config.positive("conv_kernel"),
            None if config.get("mixer_rms_eps", None) is None else config.number("mixer_rms_eps"),
        )
    ] * layers


def _lfm2(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    conv = ShortConv(config.positive("hidden_size"), config.positive("conv_L_cache"))
    return _list_mixers(config, layers, {"conv": conv, "full_attention": usual})


def _latent(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    numbers = ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    return [Latent(usual.heads, *(config.positive(key) for key in numbers))] * layers


def _gemma4(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    """Head counts and widths from `per_layer_config`, or for full attention from the two `global_…` keys."""
    types, given = layer_types(config), config.part("per_layer_config")
    mixers: list[Mixer] = []
    for layer in range(layers):
        own = given.part(str(layer)) if given is not None else None
        heads, dim = usual.kv_heads, usual.head_dim
        if own is not None:
            heads, dim = own.positive("num_key_value_heads", heads), own.positive("head_dim", dim)
        elif given is None and types[layer] == "full_attention":
            dim = config.positive("global_head_dim", 512)
            if config.flag("attention_k_eq_v") and config.get("num_global_key_value_heads", None) is not None:
                heads = config.positive("num_global_key_value_heads")
        mixers.append(Heads(usual.heads, heads, dim))
    return mixers


def _own_heads(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    """Laguna: a number of heads per layer."""
    key = "num_attention_heads_per_layer"
    if config.get(key, None) is None:
        return [usual] * layers
    counts = [int(count) for count in config.numbers(key)]
    if len(counts) != layers or any(count < 1 or count % usual.kv_heads for count in counts):
        raise config.malformed(key, f"is not a list of {layers} multiples of {usual.kv_heads}")
    return [Heads(count, usual.kv_heads, usual.head_dim) for count in counts]


def _doubled_kv_heads(config: Config, usual: Heads, layers: int) -> list[Mixer]:
    """MiMo-V2: sliding layers have twice the KV heads; values have their own width."""
    value_dim = config.positive("v_head_dim")
    full = replace(usual, value_dim=None if value_dim == usual.head_dim else value_dim)
    sliding = replace(full, kv_heads=2 * full.kv_heads)
    if sliding.heads % sliding.kv_heads:
        raise config.malformed("num_key_value_heads", f"is {full.kv_heads}, for {full.heads} heads")
    return _list_mixers(config, layers, {"full_attention": full, "sliding_attention": sliding})


MIXERS: Mapping[str, Callable[[Config, Heads, int], list[Mixer]]] = {
    "attention": _attention,
    "delta net or attention": _delta_net,
    "granite hybrid": _granite_hybrid,
    "falcon h1": _falcon_h1,
    "nemotron h": _nemotron_h,
    "lfm2": _lfm2,
    "mamba": _mamba,
    "mamba2": _all_mamba2,
    "latent": _latent,
    "gemma4": _gemma4,
    "own heads": _own_heads,
    "doubled key-value heads": _doubled_kv_heads,
}


def _same_everywhere(config: Config, layers: int) -> list[FfnKind]:
    return ["dense" if config.family.experts is None else "mixture"] * layers


def _first_dense(key: str) -> Callable[[Config, int], list[FfnKind]]:
    def ffns(config: Config, layers: int) -> list[FfnKind]:
        dense = config.integer(key)
        return ["dense" if layer < dense else "mixture" for layer in range(layers)]

    return ffns


def _at_intervals(config: Config, layers: int) -> list[FfnKind]:
    first, step = config.integer("moe_layer_start_index"), config.positive("moe_layer_interval")
    last = config.integer("moe_layer_end_index")
    if last == -1:  # in transformers' class −1 means the last layer
        last = layers - 1
    return [
        "mixture" if first <= layer <= last and (layer + 1) % step == 0 else "dense"
        for layer in range(layers)
    ]


def _by_list(config: Config, layers: int) -> list[FfnKind]:
    listed = config.get("mlp_layer_types", None)
    if listed is None and config.get("first_k_dense_replace", None) is not None:
        return _first_dense("first_k_dense_replace")(config, layers)
    kinds: Mapping[object, FfnKind] = {"dense": "dense", "sparse": "mixture"}
    if not isinstance(listed, list) or len(listed) != layers or not set(listed) <= kinds.keys():
        raise config.malformed("mlp_layer_types", f"is not a list of {layers} of dense and sparse")
    return [kinds[kind] for kind in listed]


def _by_block_type(config: Config, _: int) -> list[FfnKind]:
    kinds: Mapping[str, FfnKind] = {"mlp": "dense", "moe": "mixture"}
    return [kinds.get(kind, "none") for kind in layer_types(config)]


def _none(_: Config, layers: int) -> list[FfnKind]:
    return ["none"] * layers


def _moe_layers(config: Config, layers: int) -> list[FfnKind]:
    """Llama 4's: a list of layers, or an interval."""
    listed = config.get("moe_layers", None)
    if listed is None:
        step = config.positive("interleave_moe_layer_step")
        listed = list(range(step - 1, layers, step))
    if not isinstance(listed, list):
        raise config.malformed("moe_layers", "is not a list")
    return ["mixture" if layer in listed else "dense" for layer in range(layers)]


def _moe_block(config: Config, layers: int) -> list[FfnKind]:
    return ["dense and mixture" if config.flag("enable_moe_block") else "dense"] * layers


def _where_experts(config: Config, layers: int) -> list[FfnKind]:
    return ["mixture" if config.get("num_local_experts") else "dense"] * layers


FFNS: Mapping[str, Callable[[Config, int], list[FfnKind]]] = {
    "alike": _same_everywhere,
    "first_k_dense_replace": _first_dense("first_k_dense_replace"),
    "num_dense_layers": _first_dense("num_dense_layers"),
    "mlp_layer_types": _by_list,
    "moe_layer_interval": _at_intervals,
    "block types": _by_block_type,
    "enable_moe_block": _moe_block,
    "num_local_experts": _where_experts,
    "moe_layers": _moe_layers,
    "none": _none,
}
