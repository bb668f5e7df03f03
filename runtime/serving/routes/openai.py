"""OpenAI's endpoints: models, chat completions, text completions."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llorch.base.version import __version__
from llorch.runtime.serving import prompts
from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.job import Failed, Finished, Token
from llorch.runtime.serving.routes.answers import CollectedAnswer, Kind, chat_kind, collect, text_kind, usage
from llorch.runtime.serving.schemas.openai import ChatCompletion, Completion, TextCompletion
from llorch.runtime.serving.service import Ask, Generations, Service
from llorch.runtime.serving.transport.body import read_json
from llorch.runtime.serving.transport.event_stream import EventStream, encode_event, unless_disconnected

DONE = encode_event("[DONE]")
Schema = TypeVar("Schema", bound=Completion)


@dataclass(frozen=True, slots=True)
class OpenAI:
    """The endpoints of one server."""

    service: Service

    async def models(self, _: Request) -> Response:
        """GET /v1/models."""
        return JSONResponse({"object": "list", "data": [self.model_document()]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/NAME."""
        self._require_name(str(request.path_params["name"]))
        return JSONResponse(self.model_document())

    def model_document(self) -> dict[str, object]:
        """The model's document: OpenAI's fields, then its digest, format, architecture and verification."""
        card = self.service.card
        return {
            "id": card.name,
            "object": "model",
            "created": card.created,
            "owned_by": "llorch",
            "digest": card.digest,
            "format": card.format,
            "architecture": card.architecture,
            "verification": card.verification,
        }

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        body = await self._read(request, ChatCompletion)
        model = self.service.model
        ids = await asyncio.to_thread(prompts.chat, model, body.conversation(), body.template_tools())
        ask = Ask(
            [ids],
            body.sampling(),
            choices=body.n or 1,
            max_new_tokens=body.new_tokens,
            stop=body.stops(),
            top_logprobs=body.alternatives,
            constraint=await asyncio.to_thread(self.service.constraint, body.response_format),
        )
        return await self._answer(request, body, ask, chat_kind(model.tokenizer))

    async def text(self, request: Request) -> Response:
        """POST /v1/completions."""
        body = await self._read(request, TextCompletion)
        model = self.service.model

        def encode() -> list[list[int]]:
            return [
                prompts.encode(model, prompt)
                if isinstance(prompt, str)
                else prompts.require_ids(model, prompt)
                for prompt in body.prompts()
            ]

        ask = Ask(
            await asyncio.to_thread(encode),
            body.sampling(),
            choices=body.n or 1,
            max_new_tokens=16 if body.max_tokens is None else body.max_tokens,  # OpenAI's default
            stop=body.stops(),
            top_logprobs=body.logprobs,
        )
        return await self._answer(request, body, ask, text_kind(model.tokenizer))

    async def _read(self, request: Request, schema: type[Schema]) -> Schema:
        self.service.require_ready()
        body = await read_json(request, self.service.settings.limits, schema)
        body.require_served()
        self._require_name(body.model)
        return body

    def _require_name(self, name: str) -> None:
        if name != self.service.card.name:
            raise ApiError(
                404,
                f"the model {name[:100]!r} is not served here; {self.service.card.name!r} is",
                param="model",
                code="model_not_found",
            )

    async def _answer(self, request: Request, body: Completion, ask: Ask, kind: Kind) -> Response:
        generations = self.service.generate(ask)
        head = self._head(kind)
        if body.stream:
            counted = ask.prompts if body.includes_usage else None
            events = self._events(generations, head, kind, counted)
            return EventStream(events, self.service.settings.limits.write_s, generations.cancel)
        async with generations:
            done = await unless_disconnected(request, collect(generations))
        choices = [kind.choice(index, choice) for index, choice in enumerate(done)]
        counts = usage(ask.prompts, [choice.tokens for choice in done])
        return JSONResponse({**head, "object": kind.object, "choices": choices, "usage": counts})

    def _head(self, kind: Kind) -> dict[str, object]:
        digest = (self.service.card.digest or "").removeprefix("sha256:")[:12] or "unknown"
        return {
            "id": f"{kind.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": self.service.card.name,
            "system_fingerprint": f"llorch-{__version__}-{self.service.model.mode}-{digest}",
        }

    async def _events(
        self,
        generations: Generations,
        head: dict[str, object],
        kind: Kind,
        counted: Sequence[Sequence[int]] | None,
    ) -> AsyncIterator[bytes]:
        """The chunks of a stream, and a last one with token counts unless `counted` is None."""
        head = {**head, "object": kind.chunk_object}
        pending = [CollectedAnswer() for _ in generations.requests]
        made = [0] * len(pending)

        def chunk(choices: list[dict[str, object]], **more: object) -> bytes:
            no_usage = {} if counted is None else {"usage": None}
            return encode_event({**head, "choices": choices, **no_usage, **more})

        if kind.first is not None:
            for index in range(len(pending)):
                yield chunk([kind.first(index)])
        async for index, event in generations:
            if isinstance(event, Failed):
                yield encode_event(ApiError(500, event.message, code=event.code.lower()).document())
                return
            pending[index].take(event)
            made[index] += isinstance(event, Token)
            if pending[index].text or isinstance(event, Finished):
                yield chunk([kind.delta(index, pending[index])])
                pending[index] = pending[index].next_part()
        if counted is not None:
            yield chunk([], usage=usage(counted, made))
        yield DONE
