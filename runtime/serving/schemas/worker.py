"""The worker's request schemas, and error responses that name all invalid fields at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from llorch.runtime.sampling import Sampling
from llorch.runtime.serving.schemas.fields import seed_of, top_p_of

STOP_BYTES = 100
SHOWN = 64  # characters of a rejected value that are repeated in the error
UNSHOWN = ("prompt", "stop")  # a user's text is not repeated

# The constraint of each field, as the worker's protocol words it.
CONSTRAINTS = {
    "job_id": "length(1..=256)",
    "prompt": "length(1..=32768)",
    "max_tokens": "range(1..=2048)",
    "temperature": "range(0.0..=2.0)",
    "seed": "range(0..=18446744073709551615)",
    "top_p": "range(0.0..=1.0)",
    "top_k": "range(0..=4294967295)",
    "repetition_penalty": "range(0.0<..=2.0)",
    "stop": "max_count(4), length(1..=100 bytes)",
    "min_p": "range(0.0..=1.0)",
}


class Execute(BaseModel):
    """POST /execute."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    job_id: Annotated[str, Field(min_length=1, max_length=256)]
    prompt: Annotated[str, Field(min_length=1, max_length=32_768)]
    max_tokens: Annotated[int, Field(ge=1, le=2048)]
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 1.0
    seed: Annotated[int, Field(ge=0, le=2**64 - 1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    top_k: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    repetition_penalty: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)] = 1.0
    stop: Annotated[list[str], Field(max_length=4)] = Field(default=[])
    min_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0

    @field_validator("stop")
    @classmethod
    def _stop_bytes(cls, stop: list[str]) -> list[str]:
        for text in stop:
            if not 1 <= len(text.encode("utf-8", "surrogatepass")) <= STOP_BYTES:
                raise PydanticCustomError("stop_bytes", "each sequence must have 1 to 100 bytes")
        return stop

    def sampling(self) -> Sampling:
        """The sampling parameters."""
        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=top_p_of(self.top_p),
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            seed=seed_of(self.seed),
        )


class Cancel(BaseModel):
    """POST /cancel."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    job_id: Annotated[str, Field(min_length=1, max_length=256)]


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """All errors of a request, field by field, in order."""
    return [field_error(details) for details in error.errors(include_url=False, include_context=False)]


def field_error(details: ErrorDetails) -> dict[str, str]:
    """One error: its field, constraint and message, and the value if it may be repeated."""
    field = str(details["loc"][0])[:SHOWN] if details["loc"] else "body"
    constraint = CONSTRAINTS.get(field, details["type"])
    if details["type"] == "missing":
        constraint = "required"
    elif details["type"] == "extra_forbidden":
        constraint = "known"
    found = {"field": field, "constraint": constraint, "message": f"{field}: {details['msg']}"}
    if details["type"] not in ("missing", "json_invalid") and field not in UNSHOWN:
        found["value"] = repr(details["input"])[:SHOWN]
    return found
