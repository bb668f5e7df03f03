"""The worker's endpoints: execute a job as a stream of events, and cancel it by its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llorch.base.times import rfc3339
from llorch.runtime.serving import prompts
from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.job import Event, Failed, Finished, Started, Token
from llorch.runtime.serving.schemas.worker import Cancel, Execute, field_errors
from llorch.runtime.serving.service import Ask, Generations, Service
from llorch.runtime.serving.transport.body import read_body
from llorch.runtime.serving.transport.event_stream import EventStream, encode_event

REASONS = {"end": "EOS", "stop": "STOP_SEQUENCE", "length": "MAX_TOKENS", "cancelled": "CANCELLED"}
FAILURES = {"OUT_OF_MEMORY": "VRAM_OOM", "INFERENCE_FAILED": "INFERENCE_FAILED"}


@dataclass(frozen=True, slots=True)
class Worker:
    """The endpoints of one server."""

    service: Service

    async def execute(self, request: Request) -> Response:
        """POST /execute."""
        self.service.require_ready()
        content = await read_body(request, self.service.settings.limits)
        try:
            body = Execute.model_validate_json(content)
        except ValidationError as error:
            return JSONResponse({"errors": field_errors(error)}, status_code=400)
        try:
            ids = await asyncio.to_thread(prompts.encode, self.service.model, body.prompt)
            if body.job_id in self.service.named:
                return refuse("job_id", "unique", "job_id: a job of that name is under way")
            generations = self.service.generate(
                Ask([ids], body.sampling(), max_new_tokens=body.max_tokens, stop=body.stop)
            )
        except ApiError as error:
            if error.status != 400:
                raise
            field = "max_tokens" if error.code == "context_length_exceeded" else "prompt"
            return refuse(field, "context", f"{field}: {error.message}")
        self.service.named[body.job_id] = generations

        def close() -> None:
            generations.cancel()
            del self.service.named[body.job_id]

        events = self._events(body.job_id, generations)
        return EventStream(events, self.service.settings.limits.write_s, close)

    async def cancel(self, request: Request) -> Response:
        """POST /cancel: also of a job that is over, or that there never was."""
        content = await read_body(request, self.service.settings.limits)
        try:
            body = Cancel.model_validate_json(content)
        except ValidationError as error:
            return JSONResponse({"errors": field_errors(error)}, status_code=400)
        generations = self.service.named.get(body.job_id)
        if generations is not None:
            generations.cancel()
        return JSONResponse({"job_id": body.job_id}, status_code=202)

    async def _events(self, job_id: str, generations: Generations) -> AsyncIterator[bytes]:
        started = False
        async for _, event in generations:
            if not started:  # also before a job that ends in the queue: the order of events is fixed
                started = True
                yield self._start(job_id)
            for name, document in self._documents(event):
                yield encode_event({"type": name, **document}, name)

    def _start(self, job_id: str) -> bytes:
        now = rfc3339(datetime.now(UTC))
        document = {"type": "started", "job_id": job_id, "model": self.service.card.name, "started_at": now}
        return encode_event(document, "started")

    def _documents(self, event: Event) -> list[tuple[str, dict[str, object]]]:
        """Names and documents of an event; none for a token that completes no character."""
        if isinstance(event, Started):
            return []
        if isinstance(event, Token):
            return [("token", {"t": event.step.text, "i": event.index})] if event.step.text else []
        if isinstance(event, Failed):
            return [("error", {"code": FAILURES[event.code], "message": event.message})]
        rest = [("token", {"t": event.text, "i": event.tokens - 1})] if event.text else []
        return [*rest, ("metrics", self._metrics(event)), ("end", end_document(event))]

    def _metrics(self, event: Finished) -> dict[str, object]:
        rate = event.tokens / event.decode_s if event.decode_s > 0 else 0.0
        return {"tokens_per_sec": round(rate, 3), "vram_bytes": self.service.vram_bytes()}


def end_document(event: Finished) -> dict[str, object]:
    """The fields of the last event."""
    matched = {} if event.stopped_by is None else {"stop_sequence_matched": event.stopped_by}
    return {
        "tokens_out": event.tokens,
        "decode_time_ms": round(1000 * event.decode_s),
        "stop_reason": REASONS[event.finish],
        **matched,
    }


def refuse(field: str, constraint: str, message: str) -> Response:
    """A 400 response with one error in the worker's format."""
    error = {"field": field, "constraint": constraint, "message": message}
    return JSONResponse({"errors": [error]}, status_code=400)
