"""What all request schemas share: JSON parsing, bounds of fields, unsupported fields."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from llorch.runtime.serving.errors import ApiError

# for a top_p of 0, which keeps only the most probable token, as the smallest positive number does
SMALLEST = 5e-324

Finite = Annotated[float, Field(allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]
Repetition = Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**64 - 1)]
Stop = Annotated[str, Field(min_length=1, max_length=1000)]


class Body(BaseModel):
    """A JSON object, validated without type coercion; unknown fields are kept in `model_extra`.

    IGNORED: fields that change no answer. REFUSED: fields that would, with the values that do not.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    IGNORED: ClassVar[frozenset[str]] = frozenset()
    REFUSED: ClassVar[Mapping[str, tuple[object, ...]]] = {}

    def require_served(self) -> None:
        """Raise ApiError 400 for a field that is not supported or not known."""
        for name, value in (self.model_extra or {}).items():
            if name in self.IGNORED or value is None or value in self.REFUSED.get(name, ()):
                continue
            what = "is not served" if name in self.REFUSED else "is not known"
            code = "unsupported_parameter" if name in self.REFUSED else "unknown_parameter"
            raise ApiError(400, f"{name[:100]!r} {what} by this server", param=name[:100], code=code)


def top_p_of(value: float | None, default: float = 1.0) -> float:
    """top_p for the runtime, where it must be above 0."""
    return max(default if value is None else value, SMALLEST)


def seed_of(value: int | None) -> int:
    """The seed; a random one for None and for llama-server's -1."""
    return secrets.randbits(63) if value is None or value == -1 else value
