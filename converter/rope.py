"""Which rotary scaling a file means, and how config.json says it to transformers 4 and 5 alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converter.architecture import Architecture, RopeLayout, Sizes
from converter.keys import Keys
from converter.llama3_rope import closed_form
from formats.errors import MalformedInput, UnsupportedInput
from formats.shown import shown

Table = NDArray[np.float32]
Parameters = dict[str, object]

FREQS, LONG, SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
TABLES = (FREQS, LONG, SHORT)


@dataclass(frozen=True, slots=True)
class Rope:
    """theta: the base. scaling: rope_type and its parameters, or None. assumed: what of it no key says."""

    theta: float
    scaling: Parameters | None
    assumed: Mapping[str, object]


def read_rope(architecture: Architecture, keys: Keys, sizes: Sizes, tables: Mapping[str, Table]) -> Rope:
    """The file's rotary embedding; tables are its `rope_…` tensors in float32.

    The first that applies: both factor tables → longrope; a table of frequencies that is not all 1 → llama3,
    or longrope with that table if no llama3 makes it; `rope.scaling.type`, which llama.cpp takes for linear
    when it is missing.
    """
    assumed: Parameters = {}
    theta = keys.positive("rope.freq_base", None)
    if theta is None:
        theta = assumed["rope_theta"] = architecture.rope_theta
    for name, table in tables.items():
        _require_table(name, table, sizes["rope_pairs"])
    kind = keys.text("rope.scaling.type", "")
    if kind not in ("", "none", "linear", "yarn", "longrope"):
        raise UnsupportedInput(
            f"is {shown(kind)}; known are none, linear, yarn and longrope",
            where=f"key {shown(keys.name('rope.scaling.type'))}",
        )
    if LONG in tables and SHORT in tables:
        scaling: Parameters | None = _longrope(keys, sizes, tables)
    elif LONG in tables or SHORT in tables:
        raise MalformedInput("is there without its twin", where=f"tensor {shown(next(iter(tables)))}")
    elif FREQS in tables and not np.all(tables[FREQS] == 1):
        scaling = _frequencies(tables[FREQS], theta, sizes, assumed)
    elif kind == "longrope":
        raise keys.wrong("rope.scaling.type", f"is longrope, but {LONG} and {SHORT} are missing")
    elif kind == "yarn":
        scaling = _yarn(keys, sizes, assumed)
    else:
        scaling = _linear(keys) if kind != "none" else None
    return Rope(theta, scaling, assumed)


def spelled(architecture: Architecture, rope: Rope, keys: Keys, sizes: Sizes) -> Parameters:
    """The keys of config.json, in both spellings.

    transformers 4 reads rope_theta and rope_scaling; 5 reads rope_parameters, which a rope_scaling that is
    not null replaces: so both say the same.
    """
    base: Parameters = {"rope_theta": rope.theta}
    if architecture.rope is RopeLayout.PARTIAL:
        base["partial_rotary_factor"] = partial_rotary_factor(sizes["rope_dim"], sizes["head_dim"])
    whole = {"rope_type": "default", **base, **(rope.scaling or {})}
    config: Parameters = {**base, "rope_scaling": _version_4(rope.scaling)}
    if rope.scaling is not None and rope.scaling["rope_type"] == "longrope":
        config["original_max_position_embeddings"] = rope.scaling["original_max_position_embeddings"]
    if architecture.rope is RopeLayout.BY_LAYER_TYPE:
        local = keys.positive("rope.freq_base_swa", 10000.0)
        sliding = {"rope_type": "default", "rope_theta": local}
        return {**config, "rope_local_base_freq": local, "rope_parameters": _by_layer_type(whole, sliding)}
    if architecture.rope is RopeLayout.SCALED_FULL_ATTENTION:
        local = keys.positive("rope.freq_base_swa", rope.theta)
        return {
            **config,
            "rope_parameters": _by_layer_type(whole, {"rope_type": "default", "rope_theta": local}),
        }
    return {**config, "rope_parameters": whole}


def partial_rotary_factor(rope_dim: int, head_dim: int) -> float:
    """A p for which int(head_dim · p) is rope_dim, as transformers computes it.

    The ratio if two decimals say it, as 0.75 for 96 of 128; else the shortest decimal, as 0.4 for 12 of 32.
    """
    ratio = rope_dim / head_dim
    decimals = [round(ratio, digits) for digits in range(1, 17)]
    likely = [ratio] if ratio == round(ratio, 2) else []
    above = math.nextafter(ratio, math.inf)
    return next((p for p in (*likely, *decimals) if int(head_dim * p) == rope_dim), above)


def _by_layer_type(full: Parameters, sliding: Parameters) -> Parameters:
    return {"full_attention": full, "sliding_attention": sliding}


def _version_4(scaling: Parameters | None) -> Parameters | None:
    """As transformers 4 spells it: its phi3 wants `type` and the two lists of a longrope, no more."""
    if scaling is None or scaling["rope_type"] != "longrope":
        return scaling
    kept = ("short_factor", "long_factor", "factor", "attention_factor")
    return {"type": "longrope", **{key: scaling[key] for key in kept if key in scaling}}


def _require_table(name: str, table: Table, pairs: int) -> None:
    where = f"tensor {shown(name)}"
    if table.shape != (pairs,):
        raise MalformedInput(
            f"has {table.size} entries, expected one for each of the {pairs} pairs", where=where
        )
    if not np.all(np.isfinite(table)) or np.any(table <= 0):
        raise MalformedInput("holds a factor that is not a positive, finite number", where=where)


def _decimals(table: Table) -> list[float]:
    """Each factor as the shortest decimal of its float32."""
    return [float(str(factor)) for factor in table]


def _longrope(keys: Keys, sizes: Sizes, tables: Mapping[str, Table]) -> Parameters:
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
    # What transformers computes when there is no attention_factor: written only when the file says another.
    usual = 1.0 if context <= original else math.sqrt(1 + math.log(context / original) / math.log(original))
    attention_factor = keys.positive("rope.scaling.attn_factor", usual)
    if np.float32(attention_factor) != np.float32(usual):
        scaling["attention_factor"] = attention_factor
    return scaling


def _frequencies(table: Table, theta: float, sizes: Sizes, assumed: Parameters) -> Parameters:
    found = closed_form(table, theta)
    if found is not None:
        assumed["rope_scaling"] = dict(found)  # one of many sets that make the same table: see llama3_rope
        return found
    factors = _decimals(
        table
    )  # what the table means, said by the one type that takes a factor for every pair
    return {
        "rope_type": "longrope",
        "short_factor": factors,
        "long_factor": factors,
        "factor": 1.0,
        "attention_factor": 1.0,
        "original_max_position_embeddings": sizes["context"],
    }


def _yarn(keys: Keys, sizes: Sizes, assumed: Parameters) -> Parameters:
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
    for key, neutral in (
        ("yarn_ext_factor", (1.0, -1.0)),
        ("yarn_log_multiplier", (0.0,)),
        ("attn_factor", (1.0,)),
    ):
        value = keys.decimal(f"rope.scaling.{key}", neutral[0])
        if value not in neutral:
            raise UnsupportedInput(
                f"is {value}, which transformers cannot be told",
                where=f"key {shown(keys.name(f'rope.scaling.{key}'))}",
            )
    return scaling


def _linear(keys: Keys) -> Parameters | None:
    """`rope.scale_linear` is how files of 2023 said it; 0 and 1 mean no scaling."""
    factor = keys.decimal("rope.scaling.factor", keys.decimal("rope.scale_linear", 0.0))
    if factor < 0:
        raise keys.wrong("rope.scaling.factor", f"is {factor}, not above zero")
    return {"rope_type": "linear", "factor": factor} if factor not in (0.0, 1.0) else None
