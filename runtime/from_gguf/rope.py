"""RoPE frequencies by ggml's formulas, from the `ARCH.rope.*` keys and the tensors of frequency divisors.

Sources: ggml/src/ggml-cpu/ops.cpp (`rope_yarn`, `ggml_rope_yarn_corr_dims`), src/llama-context.cpp (which factor
belongs to which scaling type), src/llama-model.cpp (`get_rope_factors`). Computed in float64 here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.runtime.from_gguf.keys import MOST, Keys, Sizes
from llorch.runtime.traits import Rope

Factors = Callable[[str], tuple[float, ...] | None]
"""The values of a tensor by its name, or None if the file does not have it."""

NEVER = 1e20  # a divisor this large marks a pair that is not rotated: Gemma 4's table has 1e30 there
SCALING_TYPES = ("none", "linear", "yarn", "longrope")


def ropes(
    keys: Keys, sizes: Sizes, windows: tuple[int | None, ...], factors: Factors
) -> tuple[Rope | None, ...]:
    """Each layer's RoPE; None for a layer without."""
    family = keys.family
    if not family.rotates or sizes.layers == family.alibi_layers:
        return (None,) * sizes.layers
    if family.rope_switch and not keys.flag("rope.scaling.finetuned", True):
        return (None,) * sizes.layers
    everywhere = _global(keys, sizes, factors)
    local = everywhere
    if family.sliding is not None and any(windows):
        local = _local(keys, sizes, factors)
    each = zip(_turning(keys, sizes, windows), windows, strict=True)
    return tuple(None if not turns else everywhere if window is None else local for turns, window in each)


def _turning(keys: Keys, sizes: Sizes, windows: tuple[int | None, ...]) -> list[bool]:
    """Which layers have RoPE: by a key, by their index, by their window."""
    family, turns = keys.family, _pattern(keys, sizes)
    if skips := family.rope_skips:
        turns = [one and (layer + 1) % skips != 0 for layer, one in enumerate(turns)]
    if family.sliding is None or family.sliding.full_attention_rope is True or not any(windows):
        return turns
    dense = 0
    if family.sliding.full_attention_rope == "where dense":
        dense = keys.metadata.integer(keys.full("leading_dense_block_count"), 0)
    return [one and (windows[layer] is not None or layer < dense) for layer, one in enumerate(turns)]


def _pattern(keys: Keys, sizes: Sizes) -> list[bool]:
    """Which layers have RoPE according to a key; all without it."""
    name = "attention.rope_pattern"
    if not keys.family.rope_pattern or keys.full(name) not in keys.metadata:
        return [True] * sizes.layers
    pattern = [bool(entry) for entry in keys.metadata.integers(keys.full(name))]
    if len(pattern) != sizes.layers:
        raise keys.malformed(name, f"has {len(pattern)} entries for {sizes.layers} layers")
    return pattern


def _global(keys: Keys, sizes: Sizes, factors: Factors, base: float | None = None) -> Rope:
    base = _base(keys, "rope.freq_base", keys.family.rope_base) if base is None else base
    if keys.family.rope_alpha and (alpha := keys.number("rope.scaling.alpha", 0.0)):
        if alpha < 0 or sizes.head_dim <= 2:
            raise keys.malformed("rope.scaling.alpha", f"is {alpha}, of heads of {sizes.head_dim} channels")
        base *= alpha ** (sizes.head_dim / (sizes.head_dim - 2))  # src/models/hunyuan-vl.cpp
    kind = keys.text("rope.scaling.type", "linear")
    if kind not in SCALING_TYPES:
        where = f"key {printable(keys.full('rope.scaling.type'))}"
        raise UnsupportedInput(f"is {printable(kind)}; known are {', '.join(SCALING_TYPES)}", where=where)
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 0.0)) or 1.0
    if factor < 0:
        raise keys.malformed("rope.scaling.factor", f"is {factor}, expected a positive number")
    factor = 1.0 if kind == "none" else factor
    original = keys.positive("rope.scaling.original_context_length", sizes.n_ctx)
    scale = keys.number("rope.scaling.attn_factor", 1.0)
    plain = _frequencies(base, sizes.n_rot)
    if kind == "yarn":
        plain = _yarn(keys, plain, base, factor, original)
        scale *= keys.number("rope.scaling.yarn_attn_factor", _attention_factor(keys, factor))
    else:
        plain = [f / factor for f in plain]
    short, long = _divisors(keys, sizes, kind, factors)
    if long is not None and keys.family.longrope_scale:
        scale = keys.family.longrope_scale
    return Rope(
        n_rot=sizes.n_rot,
        pairs=keys.family.pairs,
        frequencies=_divide(plain, short),
        scale=scale,
        long_frequencies=None if long is None else _divide(plain, long),
        original_context=original if long is not None else 0,
    )


def _local(keys: Keys, sizes: Sizes, factors: Factors) -> Rope:
    """RoPE of sliding layers: with their own base, and with scaling only if the family's `Sliding` says so."""
    sliding = keys.family.sliding
    assert sliding is not None
    default = sliding.local_base or _base(keys, "rope.freq_base", keys.family.rope_base)
    base = _base(keys, "rope.freq_base_swa", default)
    if sliding.scaled:
        return _global(keys, sizes, factors, base)
    n_rot = keys.positive("rope.dimension_count_swa", sizes.n_rot)
    if n_rot > MOST or n_rot % 2:
        raise keys.malformed("rope.dimension_count_swa", f"is {n_rot}, expected an even number up to {MOST}")
    return Rope(n_rot=n_rot, pairs=keys.family.pairs, frequencies=tuple(_frequencies(base, n_rot)))


def _base(keys: Keys, name: str, default: float) -> float:
    base = keys.number(name, default)
    if base <= 1:
        raise keys.malformed(name, f"is {base}, expected more than 1")
    return base


def _frequencies(base: float, n_rot: int) -> list[float]:
    return [base ** (-2 * i / n_rot) for i in range(n_rot // 2)]


def _yarn(keys: Keys, plain: list[float], base: float, factor: float, original: int) -> list[float]:
    """YaRN: blend each frequency with its value divided by `factor`, by its rotations within the original context."""
    n_rot = 2 * len(plain)
    extrapolated = keys.number("rope.scaling.yarn_ext_factor", 1.0)
    extrapolated = 1.0 if extrapolated < 0 else extrapolated  # a negative value means not set

    def correction(rotations: float) -> float:
        return n_rot * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    first = correction(_beta(keys, "yarn_beta_fast", 32.0))
    last = correction(_beta(keys, "yarn_beta_slow", 1.0))
    if not keys.family.original_yarn:
        first, last = math.floor(first), math.ceil(last)
    low, high = max(0, first), min(n_rot - 1, last)
    mixed = []
    for i, frequency in enumerate(plain):
        ramp = 1 - min(1.0, max(0.0, (i - low) / max(0.001, high - low)))
        share = ramp * extrapolated
        mixed.append(frequency / factor * (1 - share) + frequency * share)
    return mixed


def _beta(keys: Keys, name: str, default: float) -> float:
    beta = keys.number(f"rope.scaling.{name}", default)
    if beta <= 0:
        raise keys.malformed(f"rope.scaling.{name}", f"is {beta}, expected a positive number")
    return beta


def _attention_factor(keys: Keys, factor: float) -> float:
    """Factor on cosine and sine, without the multiplier's share, which is in the attention scale.

    Source: src/llama-context.cpp, `get_mscale`, where mscale is 1, and for deepseek2 the multiplier.
    """
    multiplier = log_multiplier(keys)
    if not multiplier:
        return mscale(factor, 1.0)
    own = multiplier if keys.family.scales == "latent" and multiplier != 1 else 1.0
    return mscale(factor, own) / mscale(factor, multiplier)


def log_multiplier(keys: Keys) -> float:
    """The original config's `mscale_all_dim`; 0 if there is none."""
    return round(keys.family.log_multiplier * keys.decimal("rope.scaling.yarn_log_multiplier", 0.0), 6)


def mscale(factor: float, weight: float) -> float:
    """1 + 0.1 · weight · ln(factor), and 1 for a factor of at most 1."""
    return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0


def _divisors(
    keys: Keys, sizes: Sizes, kind: str, factors: Factors
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Frequency divisors for short and for long sequences; the second is None if they are the same."""
    wanted = keys.family.rope_factors
    if wanted == "freqs" and (kind == "longrope" or factors("rope_factors_long.weight") is not None):
        wanted = "long and short"
    if wanted == "none":
        return None, None
    if wanted == "freqs":
        return _check(factors, "rope_freqs.weight", sizes.n_rot), None
    short = _check(factors, "rope_factors_short.weight", sizes.n_rot)
    long = _check(factors, "rope_factors_long.weight", sizes.n_rot)
    if (short is None) != (long is None):
        raise MalformedInput(
            "is there without its counterpart",
            where=f"tensor 'rope_factors_{'long' if long else 'short'}.weight'",
        )
    return short, long


def _check(factors: Factors, name: str, n_rot: int) -> tuple[float, ...] | None:
    values = factors(name)
    if values is None:
        return None
    if len(values) != n_rot // 2:
        raise MalformedInput(f"has {len(values)} values, expected {n_rot // 2}", where=f"tensor {name!r}")
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise MalformedInput("holds a divisor that is not a positive number", where=f"tensor {name!r}")
    return values


def _divide(frequencies: list[float], divisors: tuple[float, ...] | None) -> tuple[float, ...]:
    if divisors is None:
        return tuple(frequencies)
    return tuple(
        0.0 if divisor >= NEVER else f / divisor for f, divisor in zip(frequencies, divisors, strict=True)
    )
