"""Tensor extents as the readings' tables write them: sums of products of names and numbers, as `2*keys+values`."""

from __future__ import annotations

import math
from collections.abc import Mapping


def extent(term: str, known: Mapping[str, int]) -> int:
    """Evaluate a term; KeyError for a name that is not in `known`."""
    return sum(
        math.prod(int(factor) if factor.isdigit() else known[factor] for factor in product.split("*"))
        for product in term.split("+")
    )
