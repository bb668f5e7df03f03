"""The traits that the kernel programs support, without torch: an estimate of memory asks for them before loading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from llorch.runtime.traits import Rope, Routing, Traits

Known = Mapping[type, frozenset[str]]  # the fields that the steps take into account, by class

KNOWN_TRAITS: Known = {
    Traits: frozenset(
        [
            "vocabulary_size",
            "hidden_size",
            "n_ctx",
            "heads",
            "kv_heads",
            "head_dim",
            "norm",
            "norm_eps",
            "activation",
            "windows",
            "ropes",
            "attention_scale",
            "norm_offset",
            "pairs",
            "head_norm",
            "parallel",
            "routing",
            "embedding_scale",
            "residual_scale",
            "logit_scale",
            "attention_softcap",
            "logit_softcap",
            "mixers",
            "ffns",
            "output_gate",
        ]
    ),
    Rope: frozenset(["n_rot", "pairs", "frequencies", "scale", "long_frequencies", "original_context"]),
    Routing: frozenset(
        ["experts", "used", "renormalised", "scores", "scale", "groups", "groups_used", "group_worth"]
    ),
}


def unknown_part(part: Any, known: Known) -> type | str | None:
    """Return a part's class if it is not in `known`, else the first unlisted field that differs from its default."""
    listed = known.get(type(part))
    if listed is None:
        return type(part)
    for field in fields(part):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if field.name not in listed and getattr(part, field.name) != default:
            return field.name
    return None


def supports(traits: Traits, known: Known = KNOWN_TRAITS) -> bool:
    """Whether all traits of a model are known, by default to the programs.

    A size or an activation may still keep a model from them.
    """
    parts = (traits, traits.routing, *traits.ropes)
    return all(unknown_part(part, known) is None for part in parts if part is not None)
