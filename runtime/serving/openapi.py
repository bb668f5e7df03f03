"""The OpenAPI document, generated from the schemas that validate requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from llorch.base.version import __version__

REFERENCE = "#/components/schemas/{model}"
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}
REFUSALS = {
    "400": "what is asked cannot be served",
    "401": "a key is needed",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "429": "too many requests wait; see retry-after",
    "503": "the model is being loaded, or the server is about to end",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path for the document. stream: whether it can answer with server-sent events."""

    method: str
    path: str
    summary: str
    body: type[BaseModel] | None
    stream: bool
    open: bool


def openapi_document(endpoints: Sequence[Endpoint], *, keys: bool) -> dict[str, object]:
    """Build the OpenAPI 3.1 document. keys: whether a key is needed."""
    bodies = [(one.body, "validation") for one in endpoints if one.body is not None]
    references, definitions = models_json_schema(bodies, ref_template=REFERENCE)  # type: ignore[arg-type]
    described: dict[str, dict[str, object]] = {}
    for one in endpoints:
        schema = None if one.body is None else references[one.body, "validation"]
        operation = described.setdefault(one.path.replace(":path}", "}"), {})
        operation[one.method.lower()] = describe(one, schema, keys=keys)
    security = {"key": {"type": "http", "scheme": "bearer"}} if keys else {}
    schemas: dict[str, Any] = {**definitions.get("$defs", {}), "Error": ERROR}
    return {
        "openapi": "3.1.0",
        "info": {"title": "llorch", "version": __version__},
        "paths": described,
        "components": {"schemas": schemas, "securitySchemes": security},
    }


def describe(endpoint: Endpoint, schema: object, *, keys: bool) -> dict[str, object]:
    """The operation object of one endpoint."""
    json: dict[str, object] = {"application/json": {"schema": {}}}
    events: dict[str, object] = (
        {"text/event-stream": {"schema": {"type": "string"}}} if endpoint.stream else {}
    )
    error = {"application/json": {"schema": {"$ref": REFERENCE.format(model="Error")}}}
    operation: dict[str, object] = {
        "summary": endpoint.summary.partition("\n")[0],
        "responses": {
            "200": {"description": "done", "content": {**json, **events}},
            **{status: {"description": what, "content": error} for status, what in REFUSALS.items()},
        },
    }
    if schema is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if "{name" in endpoint.path:
        name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [name]
    if keys and not endpoint.open:
        operation["security"] = [{"key": []}]
    return operation
