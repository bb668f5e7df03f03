"""Multipliers on the outputs of a layer's projections, from config keys (µP)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.shapes import ROW_PARTS, shape_rule
from llorch.runtime.shapes import extent
from llorch.runtime.traits import Mixer

RowMultipliers = Sequence[tuple[int, float]]
"""(rows, factor) for each consecutive part of a projection's rows."""


def read_multipliers(
    config: Config, mixer: Mixer, letters: Mapping[str, int]
) -> Mapping[str, RowMultipliers]:
    """The multipliers of each role for which they are not all 1. letters: sizes for evaluating the shapes.

    The values of a role's keys are multiplied together. A key is one number, a list with one for each part of the rows,
    or, as `key[1]`, an entry of a list.
    """
    found = {}
    for role, keys in config.family.multipliers.items():
        parts = (ROW_PARTS.get(role) or shape_rule(mixer, role).split()[0]).split()
        factors = [1.0] * len(parts)
        for key in keys:
            factors = [a * b for a, b in zip(factors, _numbers(config, key, len(parts)), strict=True)]
        if any(factor != 1 for factor in factors):
            found[role] = [
                (extent(part, letters), factor) for part, factor in zip(parts, factors, strict=True)
            ]
    return found


def _numbers(config: Config, key: str, parts: int) -> Sequence[float]:
    """A key's multiplier for each part."""
    entry = re.fullmatch(r"(\w+)\[(\d)\]", key)
    if entry is not None:
        listed = config.numbers(entry[1])
        if int(entry[2]) >= len(listed):
            raise config.malformed(entry[1], f"has {len(listed)} numbers, expected more than {entry[2]}")
        return [listed[int(entry[2])]] * parts
    if not isinstance(config.get(key), list):
        return [config.number(key)] * parts
    listed = config.numbers(key)
    if len(listed) != parts:
        raise config.malformed(key, f"has {len(listed)} numbers, expected {parts}")
    return listed
