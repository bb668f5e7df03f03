"""The plan of a conversion: every output tensor, config key and dtype, decided before a byte is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.converter.plan.dtype_choice import UNQUANTIZED
    from llorch.converter.plan.plan import Plan, make_plan, require_decoder
    from llorch.converter.plan.rope import TABLES
    from llorch.converter.plan.segments import PlannedTensor

__all__ = [
    "TABLES",
    "UNQUANTIZED",
    "Plan",
    "PlannedTensor",
    "make_plan",
    "require_decoder",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "dtype_choice": ["UNQUANTIZED"],
        "plan": ["Plan", "make_plan", "require_decoder"],
        "rope": ["TABLES"],
        "segments": ["PlannedTensor"],
    },
)
