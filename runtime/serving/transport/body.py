"""Read request bodies: within a size and a time, as JSON that follows a schema."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.settings import Limits

Schema = TypeVar("Schema", bound=BaseModel)


async def read_body(request: Request, limits: Limits) -> bytes:
    """Read the body; ApiError 413 as soon as it is too large, 408 if it takes too long."""
    promised = request.headers.get("content-length", "0")
    if promised.isascii() and promised.isdigit() and int(promised) > limits.body_bytes:
        raise too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise too_large(limits)
    except TimeoutError:
        raise ApiError(408, f"the body did not come within {limits.body_s:g} s") from None
    return bytes(body)


def too_large(limits: Limits) -> ApiError:
    """The error 413."""
    return ApiError(413, f"the body is larger than {limits.body_bytes:,} bytes", code="body_too_large")


async def read_json(request: Request, limits: Limits, schema: type[Schema]) -> Schema:
    """Read the body as JSON of this schema; ApiError 400 for the first error in it."""
    try:
        return schema.model_validate_json(await read_body(request, limits))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise ApiError(400, f"the body is no JSON: {first['msg']}", code="invalid_json") from None
        param = ".".join(str(part) for part in first["loc"])
        raise ApiError(
            400, f"{param}: {first['msg']}" if param else first["msg"], param=param or None
        ) from None
