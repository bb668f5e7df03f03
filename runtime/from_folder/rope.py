"""RoPE frequencies by transformers' formulas, from `rope_parameters` or the older `rope_scaling`.

Source: transformers, modeling_rope_utils.py (`convert_rope_params_to_dict`, `_compute_*_parameters`), which computes in
float32; here float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llorch.runtime.from_folder.config import Config
from llorch.runtime.traits import Rope

SLIDING, FULL = "sliding_attention", "full_attention"

Computed = tuple[list[float], float, list[float] | None]
"""Frequencies, factor on cosine and sine, frequencies of long sequences or None."""


def ropes(config: Config, widths: list[int], types: list[str]) -> tuple[Rope | None, ...]:
    """Each layer's RoPE; None for a layer without.

    widths: head widths of the layers. types: the layers' attention types.
    """
    bases, rotated = _bases(config, len(types)), rotated_layers(config, len(types))
    each = list(zip(widths, types, bases, strict=True))
    by_kind = {key: _rope(config, *key) for key, turns in zip(each, rotated, strict=True) if turns}
    return tuple(by_kind[key] if turns else None for key, turns in zip(each, rotated, strict=True))


def latent_scale(config: Config) -> float:
    """Scale of latent attention's scores: by the whole head's width, times YaRN's mscale squared.

    Source: transformers, models/deepseek_v3, `DeepseekV3Attention.__init__`.
    """
    whole = config.positive("qk_nope_head_dim") + config.positive("qk_rope_head_dim")
    parameters, grown = _parameters(config, FULL), 1.0
    if parameters.get("rope_type", "default") != "default" and parameters.get("mscale_all_dim", None):
        factor = _factor(parameters)
        grown = 1.0 if factor <= 1 else 0.1 * parameters.number("mscale_all_dim") * math.log(factor) + 1.0
    return grown * grown / math.sqrt(whole)


def rotated_layers(config: Config, layers: int) -> list[bool]:
    """Which layers have RoPE; despite its name, `no_rope_layers` has 1 for those that do."""
    if config.family.layer_bases is not None:
        return [base != 0 for base in _bases(config, layers)]
    if not config.family.no_rope_layers:
        return [True] * layers
    listed = config.get("no_rope_layers")
    if listed is None:
        interval = config.positive("no_rope_layer_interval")
        return [(layer + 1) % interval != 0 for layer in range(layers)]
    if not isinstance(listed, list) or len(listed) != layers or any(entry not in (0, 1) for entry in listed):
        raise config.malformed("no_rope_layers", f"is not a list of {layers} zeros and ones")
    return [bool(entry) for entry in listed]


def _bases(config: Config, layers: int) -> list[float | None]:
    """Each layer's RoPE base from a list; 0 for no RoPE, None for the base in the RoPE parameters."""
    key = config.family.layer_bases
    if key is None or config.get(key, None) is None:
        return [None] * layers
    bases = config.numbers(key)
    if len(bases) != layers:
        raise config.malformed(key, f"is not a list of {layers} numbers")
    return list(bases)


def _rope(config: Config, head_dim: int, kind: str, base: float | None) -> Rope:
    parameters = _parameters(config, kind)
    if base is not None:
        parameters = Config({**parameters.values, "rope_theta": base}, {}, config.path)
    n_rot = _rotary_channels(config, parameters, head_dim)
    rope_type = parameters.text("rope_type", parameters.get("type", "default"))
    if config.text("model_type") == "phi3" and rope_type in ("su", "yarn"):  # Phi3Config treats both names so
        rope_type = "longrope"
    compute = COMPUTED_BY.get(rope_type)
    if compute is None:
        raise parameters.unsupported("rope_type", f"is {rope_type!r}; known are {', '.join(COMPUTED_BY)}")
    theta = parameters.number("rope_theta")
    if theta <= 1:
        raise parameters.malformed("rope_theta", f"is {theta}, expected more than 1")
    if rope_type == "proportional":
        n_rot = head_dim
    plain = [theta ** (-2 * i / n_rot) for i in range(n_rot // 2)]
    frequencies, scale, long = compute(config, parameters, plain)
    return Rope(
        n_rot=n_rot,
        pairs=config.family.pairs,
        frequencies=tuple(frequencies),
        scale=scale,
        long_frequencies=None if long is None else tuple(long),
        original_context=_original(config, parameters) if long is not None else 0,
    )


def _parameters(config: Config, kind: str) -> Config:
    """The RoPE parameters for one type of layer, including `rope_theta`.

    A non-empty `rope_scaling` replaces `rope_parameters`; in classes with nested parameters it is merged into those of
    full attention. Keys beside them fill in what they lack.
    """
    scaling, given = config.part("rope_scaling"), config.part("rope_parameters")
    if config.family.nested_rope:
        own = given.part(kind) if given is not None else None
        values = dict(own.values) if own is not None else {}
        if kind == FULL and scaling is not None:
            values.update(scaling.values)
        values.setdefault("rope_theta", _nested_theta(config, kind))
        return Config(values, {}, config.path)
    chosen = scaling if scaling is not None and scaling.values else given
    values = dict(chosen.values) if chosen is not None else {}
    if {SLIDING, FULL} & values.keys():
        raise config.unsupported(
            "rope_parameters", "differ between kinds of layers, which this class has not"
        )
    values.setdefault("rope_theta", config.get("rope_theta"))
    if "partial_rotary_factor" in config.values:
        values.setdefault("partial_rotary_factor", config.values["partial_rotary_factor"])
    return Config(values, {}, config.path)


def _nested_theta(config: Config, kind: str) -> object:
    """Full attention uses `rope_theta`; sliding layers their own key, or else only the class's default."""
    if kind == FULL:
        return config.get("rope_theta")
    return config.get("rope_local_base_freq", config.defaults["rope_theta"])


def _rotary_channels(config: Config, parameters: Config, head_dim: int) -> int:
    # the rotated channels are separate, and the share refers to the whole head
    if config.family.mixers == "latent":
        return head_dim
    default = config.family.partial_rotary
    share = parameters.number("partial_rotary_factor", 1.0 if default is None else default)
    if default is None and share != 1:
        raise parameters.unsupported("partial_rotary_factor", f"is {share}: this class rotates whole heads")
    n_rot = int(head_dim * share)
    if not 0 < n_rot <= head_dim or n_rot % 2:
        raise parameters.malformed(
            "partial_rotary_factor", f"is {share}: {n_rot} of {head_dim} channels cannot be rotated in pairs"
        )
    return n_rot


def _original(config: Config, parameters: Config) -> int:
    """The context before scaling; a key beside the parameters takes precedence over one inside."""
    key = "original_max_position_embeddings"
    if key in config.values or key in config.defaults:
        return config.positive(key)
    return parameters.positive(key, config.get("max_position_embeddings"))


def _factor(parameters: Config, key: str = "factor") -> float:
    factor = parameters.number(key)
    if factor <= 0:
        raise parameters.malformed(key, f"is {factor}, expected a positive number")
    return factor


def _factor_or_ratio(config: Config, parameters: Config, original: int) -> float:
    if parameters.get("factor", None) is None:
        return config.positive("max_position_embeddings") / original
    return _factor(parameters)


def _default(config: Config, parameters: Config, plain: list[float]) -> Computed:  # noqa: ARG001  as the others
    return plain, 1.0, None


def _linear(config: Config, parameters: Config, plain: list[float]) -> Computed:  # noqa: ARG001  as the others
    factor = _factor(parameters)
    return [f / factor for f in plain], 1.0, None


def _llama3(config: Config, parameters: Config, plain: list[float]) -> Computed:
    """Divide long wavelengths by the factor, keep short ones, and interpolate smoothly between."""
    factor, original = _factor(parameters), _original(config, parameters)
    low, high = _factor(parameters, "low_freq_factor"), _factor(parameters, "high_freq_factor")
    if high <= low:
        raise parameters.malformed(
            "high_freq_factor", f"is {high}, expected more than low_freq_factor, {low}"
        )

    def scale(frequency: float) -> float:
        wavelength = 2 * math.pi / frequency
        if wavelength < original / high:
            return frequency
        if wavelength > original / low:
            return frequency / factor
        smooth = (original / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency

    return [scale(f) for f in plain], 1.0, None


def _yarn(config: Config, parameters: Config, plain: list[float]) -> Computed:
    n_rot, theta, original = 2 * len(plain), parameters.number("rope_theta"), _original(config, parameters)
    factor = _factor_or_ratio(config, parameters, original)

    def correction(rotations: float) -> float:
        return n_rot * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    fast, slow = (
        correction(_factor(parameters, key) if parameters.get(key, None) else usual)
        for key, usual in (("beta_fast", 32.0), ("beta_slow", 1.0))
    )
    if parameters.flag("truncate", True):
        fast, slow = math.floor(fast), math.ceil(slow)
    low, high = max(fast, 0), min(slow, n_rot - 1)
    high = high + 0.001 if low == high else high
    shares = [min(1.0, max(0.0, (i - low) / (high - low))) for i in range(len(plain))]
    mixed = [f / factor * share + f * (1 - share) for f, share in zip(plain, shares, strict=True)]
    return mixed, _yarn_attention_factor(parameters, factor), None


def _yarn_attention_factor(parameters: Config, factor: float) -> float:
    def mscale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    if parameters.get("attention_factor", None) is not None:
        return parameters.number("attention_factor")
    if parameters.get("mscale", None) and parameters.get("mscale_all_dim", None):
        return mscale(parameters.number("mscale")) / mscale(parameters.number("mscale_all_dim"))
    return mscale(1.0)


def _longrope(config: Config, parameters: Config, plain: list[float]) -> Computed:
    original = _original(config, parameters)
    factor = _factor_or_ratio(config, parameters, original)
    if config.family.mscales:
        scale = parameters.number("short_mscale")
        if parameters.number("long_mscale") != scale:
            raise parameters.unsupported("long_mscale", f"is not short_mscale, {scale}")
    elif parameters.get("attention_factor", None) is not None:
        scale = parameters.number("attention_factor")
    else:
        scale = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(max(original, 2)))
    lists = []
    for key in ("short_factor", "long_factor"):
        divisors = parameters.numbers(key)
        if len(divisors) != len(plain) or any(d <= 0 for d in divisors):
            raise parameters.malformed(key, f"is not a list of {len(plain)} positive numbers")
        lists.append([f / divisor for f, divisor in zip(plain, divisors, strict=True)])
    return lists[0], scale, lists[1]


def _proportional(config: Config, parameters: Config, plain: list[float]) -> Computed:  # noqa: ARG001  as the others
    """RoPE on the first pairs, with the frequencies of a fully rotated head; none on the others."""
    share = parameters.number("partial_rotary_factor", 1.0)
    rotated = int(share * 2 * len(plain) // 2)
    return [f if pair < rotated else 0.0 for pair, f in enumerate(plain)], 1.0, None


COMPUTED_BY: dict[str, Callable[[Config, Config, list[float]], Computed]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
    "proportional": _proportional,
}
