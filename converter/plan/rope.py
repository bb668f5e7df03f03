"""The rotary scaling of a file, and how config.json expresses it for transformers 4 and 5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.plan.llama3_rope import closed_form
from llorch.converter.schema.architecture import Architecture, RopeLayout, Sizes
from llorch.converter.schema.keys import Keys

Table = NDArray[np.float32]
Parameters = dict[str, object]

FREQS, LONG, SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
TABLES = (FREQS, LONG, SHORT)

ONLY_OF_5 = (RopeLayout.PROPORTIONAL, RopeLayout.SCALED_FULL_ATTENTION_OF_5)
# Sliding layers have the same base, unless the file has two.
SAME_BASE = (RopeLayout.SCALED_FULL_ATTENTION, RopeLayout.SCALED_FULL_ATTENTION_OF_5)

# Yarn's values in DeepSeek's published files, which are also the defaults of llama.cpp and transformers.
YARN_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}


@dataclass(frozen=True, slots=True)
class Rope:
    """theta: the base. scaling: rope_type and its parameters, or None. assumed: values in it that no key determines."""

    theta: float
    scaling: Parameters | None
    assumed: Mapping[str, object]


def read_rope(architecture: Architecture, keys: Keys, sizes: Sizes, tables: Mapping[str, Table]) -> Rope:
    """Read the file's rotary embedding; tables are its `rope_…` tensors in float32.

    The first that applies: both factor tables → longrope; a frequency table that is not all 1 → llama3, or longrope
    with that table if no llama3 parameters give it; `rope.scaling.type`, which if missing means linear, as in
    llama.cpp. A linear factor applies on top of a table.
    UnsupportedInput for scalings that transformers, or the architecture's class, cannot express.
    """
    assumed: Parameters = {}
    theta = keys.positive("rope.freq_base", None)
    if theta is None and architecture.rope is RopeLayout.NONE:
        theta = architecture.rope_theta
    elif theta is None:
        theta = assumed["rope_theta"] = architecture.rope_theta
    if architecture.rope_alpha:
        theta *= _stretch(keys, sizes["head_dim"])
    if architecture.rope is RopeLayout.NONE:
        return Rope(theta, None, {})
    for name, table in tables.items():
        _require_table(name, table, sizes["rope_pairs"])
    if architecture.rope is RopeLayout.PROPORTIONAL:
        return Rope(theta, _proportional(keys, tables, sizes), assumed)
    kind = keys.text("rope.scaling.type", "")
    if kind not in ("", "none", "linear", "yarn", "longrope"):
        raise UnsupportedInput(
            f"is {printable(kind)}; known are none, linear, yarn and longrope",
            where=f"key {printable(keys.name('rope.scaling.type'))}",
        )
    scaling: Parameters | None
    if LONG in tables or SHORT in tables:
        scaling = _longrope(keys, sizes, _scale_tables(keys, kind, _require_both_tables(tables)), assumed)
        scaling |= architecture.rope_constants
        assumed |= architecture.rope_constants
    elif kind == "longrope":
        raise keys.wrong("rope.scaling.type", f"is longrope, but {LONG} and {SHORT} are missing")
    elif FREQS in tables and not np.all(tables[FREQS] == 1):
        scaling = _frequencies(_scale_tables(keys, kind, tables)[FREQS], theta, sizes, assumed)
    elif kind == "yarn":
        scaling = _yarn(architecture, keys, sizes, assumed)
    else:
        scaling = _linear(keys) if kind != "none" else None
    if scaling is None or scaling["rope_type"] != "longrope":
        _require_neutral(keys, "attn_factor", (1.0,))
    further: Parameters = {
        **{name: keys.decimal(key) for name, key in architecture.rope_keys.items() if keys.has(key)},
        **{name: sizes[size] for name, size in architecture.rope_sizes.items()},
    }
    known = _scaling_for_class(architecture, scaling, sizes)
    if further and known is None:
        original = keys.count("rope.scaling.original_context_length", sizes["context"])
        further = {"rope_type": "default", "original_max_position_embeddings": original, **further}
    return Rope(theta, {**(known or {}), **further} or None, assumed)


def _stretch(keys: Keys, head_dim: int) -> float:
    """Return the factor of a base whose frequencies are stretched for all positions alike, as XD-RoPE's are.

    1 if the key is missing or 0. Source: llama.cpp, src/models/hunyuan-vl.cpp; transformers,
    `compute_ntk_alpha_rope_parameters`.
    """
    alpha = keys.decimal("rope.scaling.alpha", 0.0)
    if alpha < 0 or head_dim <= 2:
        raise keys.wrong("rope.scaling.alpha", f"is {alpha}, of heads of {head_dim} channels")
    return float(alpha ** (head_dim / (head_dim - 2))) if alpha else 1.0


def rope_parameters(architecture: Architecture, rope: Rope, keys: Keys, sizes: Sizes) -> Parameters:
    """Return the keys of config.json, in both spellings.

    transformers 4 reads rope_theta and rope_scaling; 5 reads rope_parameters, but a rope_scaling that is not null
    replaces it, so both contain the same. Two bases are written only for 5 if the class of 4 reads one.
    """
    if architecture.rope is RopeLayout.NONE:
        return {}
    base: Parameters = {"rope_theta": rope.theta}
    if architecture.rope is RopeLayout.PARTIAL:
        base["partial_rotary_factor"] = partial_rotary_factor(sizes["rope_dim"], sizes["head_dim"])
    if architecture.rope is RopeLayout.PARTIAL_BY_LAYER_TYPE:
        return {"rope_parameters": _partial_by_layer_type(architecture, rope, keys, sizes)}
    usual = rope.theta if architecture.rope in SAME_BASE else 10000.0
    local = keys.positive("rope.freq_base_swa", usual)
    if architecture.rope in ONLY_OF_5 or (architecture.rope in SAME_BASE and local != rope.theta):
        full = {"rope_type": "default", **base, **(rope.scaling or {})}
        return {"rope_parameters": _by_layer_type(full, {"rope_type": "default", "rope_theta": local})}
    base |= _sections(architecture, keys)
    whole = {"rope_type": "default", **base, **(rope.scaling or {})}
    if architecture.rope is RopeLayout.PARTIAL_OF_WHOLE:
        base["partial_rotary_factor"] = partial_rotary_factor(sizes["rope_dim"], sizes["qk_dim"])
        whole = {**whole, **base}
    beside = {key: value for key, value in base.items() if not key.startswith("mrope")}
    config: Parameters = {**beside, "rope_scaling": _scaling_for_transformers_4(architecture, rope.scaling)}
    if rope.scaling is not None and rope.scaling["rope_type"] == "longrope":
        config["original_max_position_embeddings"] = rope.scaling["original_max_position_embeddings"]
    if architecture.rope is RopeLayout.BY_LAYER_TYPE:
        sliding = {"rope_type": "default", "rope_theta": local}
        return {**config, "rope_local_base_freq": local, "rope_parameters": _by_layer_type(whole, sliding)}
    if architecture.rope is RopeLayout.SCALED_FULL_ATTENTION:
        sliding = {"rope_type": "default", "rope_theta": local}
        return {**config, "rope_parameters": _by_layer_type(whole, sliding)}
    return {**config, "rope_parameters": whole}


def _partial_by_layer_type(architecture: Architecture, rope: Rope, keys: Keys, sizes: Sizes) -> Parameters:
    """Return rope_parameters of classes that only transformers 5 has; without a window only those of full attention."""
    head_dim, rope_dim = sizes["head_dim"], sizes["rope_dim"]
    full = {
        "rope_type": "default", "rope_theta": rope.theta, **(rope.scaling or {}),
        "partial_rotary_factor": partial_rotary_factor(rope_dim, head_dim),
    }  # fmt: skip
    local = keys.positive("rope.freq_base_swa", architecture.sliding_theta or rope.theta)
    local_dim = keys.count("rope.dimension_count_swa", rope_dim)
    if local_dim % 2 or local_dim > head_dim:
        raise keys.wrong(
            "rope.dimension_count_swa", f"is {local_dim}, expected an even number up to {head_dim}"
        )
    sliding: Parameters = {
        "rope_type": "default",
        "rope_theta": local,
        "partial_rotary_factor": partial_rotary_factor(local_dim, head_dim),
    }
    windowed = keys.integer("attention.sliding_window", 0) > 0
    return _by_layer_type(full, sliding) if windowed else {"full_attention": full}


def partial_rotary_factor(rope_dim: int, head_dim: int) -> float:
    """Return a p for which int(head_dim · p) is rope_dim, as transformers computes it.

    The exact ratio if it has at most two decimals, as 0.75 for 96 of 128; else the shortest decimal, as 0.4 for 12 of
    32.
    """
    ratio = rope_dim / head_dim
    decimals = [round(ratio, digits) for digits in range(1, 17)]
    likely = [ratio] if ratio == round(ratio, 2) else []
    above = math.nextafter(ratio, math.inf)
    return next((p for p in (*likely, *decimals) if int(head_dim * p) == rope_dim), above)


def _sections(architecture: Architecture, keys: Keys) -> Parameters:
    """Return how multimodal classes split rotary pairs into time, height and width; for text all are equal."""
    sections = keys.integers("rope.dimension_sections", None)
    if sections is None or not architecture.rope_sections:
        return {}
    return {"mrope_interleaved": True, "mrope_section": sections[:3]}


def _proportional(keys: Keys, tables: Mapping[str, Table], sizes: Sizes) -> Parameters:
    """Return Gemma 4's scaling: the first pairs rotate as if all of the head did, the others not at all.

    The table has 1 for a pair that rotates and a placeholder, 1e30, for one that does not.
    Source: llama.cpp, conversion/gemma.py, `generate_extra_tensors`; transformers,
    `_compute_proportional_rope_parameters`.
    """
    table = tables.get(FREQS)
    turning = sizes["rope_pairs"] if table is None else int(np.count_nonzero(table == 1))
    if table is not None and not (np.all(table[:turning] == 1) and np.all(table[turning:] >= 1e20)):
        raise UnsupportedInput(
            "is not 1 and then 1e30, as a proportional rotation is", where=f"tensor {printable(FREQS)}"
        )
    for key, neutral in (("rope.scaling.type", ("", "none")),):
        if (kind := keys.text(key, "")) not in neutral:
            raise UnsupportedInput(
                f"is {printable(kind)}, beside a proportional rotation",
                where=f"key {printable(keys.name(key))}",
            )
    return {
        "rope_type": "proportional",
        "partial_rotary_factor": partial_rotary_factor(2 * turning, 2 * sizes["rope_pairs"]),
    }


def _by_layer_type(full: Parameters, sliding: Parameters) -> Parameters:
    return {"full_attention": full, "sliding_attention": sliding}


def _scaling_for_transformers_4(architecture: Architecture, scaling: Parameters | None) -> Parameters | None:
    """Return the scaling as transformers 4 spells it: its phi3 wants only `type` and longrope's two lists.

    DeepSeek's have `type` too, as published: mistral.rs reads only that.
    """
    if scaling is None:
        return None
    if scaling["rope_type"] != "longrope":
        return {**scaling, **({"type": scaling["rope_type"]} if "mscale" in scaling else {})}
    kept = ["short_factor", "long_factor", "factor", "attention_factor", *architecture.rope_constants]
    if not architecture.only_longrope:  # for those classes transformers 5 ignores it and uses the context
        kept.append("original_max_position_embeddings")
    return {"type": "longrope", **{key: scaling[key] for key in kept if key in scaling}}


def _require_table(name: str, table: Table, pairs: int) -> None:
    where = f"tensor {printable(name)}"
    if table.shape != (pairs,):
        raise MalformedInput(
            f"has {table.size} entries, expected one for each of the {pairs} pairs", where=where
        )
    if not np.all(np.isfinite(table)) or np.any(table <= 0):
        raise MalformedInput("holds a factor that is not a positive, finite number", where=where)


def _decimals(table: Table) -> list[float]:
    """Return each factor as the shortest decimal of its float32."""
    return [float(str(factor)) for factor in table]


def _require_both_tables(tables: Mapping[str, Table]) -> Mapping[str, Table]:
    """Return the tables of a longrope; MalformedInput if one is missing, UnsupportedInput beside a frequency table."""
    alone = [name for name in (LONG, SHORT) if name not in tables]
    if alone:
        raise MalformedInput("is missing, though its twin is there", where=f"tensor {printable(alone[0])}")
    if FREQS in tables:
        raise UnsupportedInput(f"is there beside {LONG}", where=f"tensor {printable(FREQS)}")
    return tables


def _scale_tables(keys: Keys, kind: str, tables: Mapping[str, Table]) -> Mapping[str, Table]:
    """Multiply tables by the linear factor, which llama.cpp applies too for every scaling type except `none`."""
    if kind == "yarn":
        raise UnsupportedInput(
            f"is yarn, and {next(iter(tables))} is there: transformers cannot be told both",
            where=f"key {printable(keys.name('rope.scaling.type'))}",
        )
    linear = _linear(keys) if kind != "none" else None
    factor = np.float32(str(linear["factor"])) if linear is not None else np.float32(1)
    return {name: table * factor for name, table in tables.items()}


def _scaling_for_class(
    architecture: Architecture, scaling: Parameters | None, sizes: Sizes
) -> Parameters | None:
    """Return the scaling as the architecture's class can express it."""
    if not architecture.only_longrope or scaling is None or scaling["rope_type"] == "longrope":
        return scaling
    if scaling["rope_type"] != "linear":
        raise UnsupportedInput(
            f"is {scaling['rope_type']}, of which {architecture.class_name} knows nothing",
            where=f"key {printable(f'{architecture.gguf}.rope.scaling.type')}",
        )
    factors = [scaling["factor"]] * sizes["rope_pairs"]
    return {
        "rope_type": "longrope",
        "short_factor": factors,
        "long_factor": factors,
        "original_max_position_embeddings": sizes["context"],
    }


def _require_neutral(keys: Keys, key: str, neutral: tuple[float, ...]) -> None:
    """Raise UnsupportedInput for a value of `rope.scaling.KEY` that has an effect; a missing one has none."""
    value = keys.decimal(f"rope.scaling.{key}", neutral[0])
    if value not in neutral:
        raise UnsupportedInput(
            f"is {value}, which transformers cannot be told",
            where=f"key {printable(keys.name(f'rope.scaling.{key}'))}",
        )


def _longrope(keys: Keys, sizes: Sizes, tables: Mapping[str, Table], assumed: Parameters) -> Parameters:
    original, context = keys.count("rope.scaling.original_context_length", sizes["context"]), sizes["context"]
    if original < 2:
        raise keys.wrong(
            "rope.scaling.original_context_length", f"is {original}, which has no logarithm to scale by"
        )
    scaling: Parameters = {
        "rope_type": "longrope",
        "short_factor": _decimals(tables[SHORT]),
        "long_factor": _decimals(tables[LONG]),
        "original_max_position_embeddings": original,
    }
    # What transformers computes without an attention_factor: written only if the file's value differs.
    usual = 1.0 if context <= original else math.sqrt(1 + math.log(context / original) / math.log(original))
    # llama.cpp's default is 1.
    attention_factor = keys.positive("rope.scaling.attn_factor", 1.0)
    if np.float32(attention_factor) != np.float32(usual):
        scaling["attention_factor"] = attention_factor
        if not keys.has("rope.scaling.attn_factor"):
            assumed["attention_factor"] = attention_factor
    return scaling


def _frequencies(table: Table, theta: float, sizes: Sizes, assumed: Parameters) -> Parameters:
    found = closed_form(table, theta)
    if found is not None:
        assumed["rope_scaling"] = dict(found)  # one of many sets that give the same table: see llama3_rope
        return found
    factors = _decimals(table)  # longrope is the one type that takes a factor for every pair
    return {
        "rope_type": "longrope",
        "short_factor": factors,
        "long_factor": factors,
        "factor": 1.0,
        "attention_factor": 1.0,
        "original_max_position_embeddings": sizes["context"],
    }


def _yarn(architecture: Architecture, keys: Keys, sizes: Sizes, assumed: Parameters) -> Parameters:
    original = keys.count("rope.scaling.original_context_length", None)
    if original is None:
        original = assumed["original_max_position_embeddings"] = sizes["context"]
    scaling: Parameters = {
        "rope_type": "yarn",
        "factor": keys.positive("rope.scaling.factor"),
        "original_max_position_embeddings": original,
    }
    for key, name in (("yarn_attn_factor", "attention_factor"), ("yarn_beta_fast", "beta_fast"),
                      ("yarn_beta_slow", "beta_slow")):  # fmt: skip
        value = keys.positive(f"rope.scaling.{key}", None)
        if value is not None:
            scaling[name] = value
    _require_neutral(keys, "yarn_ext_factor", (1.0, -1.0))  # −1 means not set
    if not architecture.log_multiplier:
        _require_neutral(keys, "yarn_log_multiplier", (0.0,))
    elif multiplier := keys.decimal("rope.scaling.yarn_log_multiplier", 0.0):
        # Rounded to two decimals more than published values have: the key's float32 is not the exact product.
        scaling["mscale"] = scaling["mscale_all_dim"] = round(architecture.log_multiplier * multiplier, 6)
        for name, value in YARN_BETAS.items():  # mistral.rs demands both beside mscale
            if name not in scaling:
                scaling[name] = assumed[name] = value
    scaling |= architecture.rope_constants
    assumed |= architecture.rope_constants
    return scaling


def _linear(keys: Keys) -> Parameters | None:
    """Return the linear scaling. Files of 2023 have `rope.scale_linear`; 0 and 1 mean no scaling."""
    factor = keys.decimal("rope.scaling.factor", keys.decimal("rope.scale_linear", 0.0))
    if factor < 0:
        raise keys.wrong("rope.scaling.factor", f"is {factor}, not above zero")
    return {"rope_type": "linear", "factor": factor} if factor not in (0.0, 1.0) else None
