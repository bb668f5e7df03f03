"""llama-server's endpoints: completion, tokenizer, chat template, properties."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from llorch.base.version import __version__
from llorch.runtime.request import Step
from llorch.runtime.serving import prompts
from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.job import Failed, Finished, Token
from llorch.runtime.serving.schemas.llama_server import ApplyTemplate, Completion, Detokenize, Tokenize
from llorch.runtime.serving.service import Ask, Generations, Service
from llorch.runtime.serving.transport.body import read_json
from llorch.runtime.serving.transport.event_stream import EventStream, encode_event, unless_disconnected
from llorch.runtime.text.token_bytes import token_bytes, token_text

STOP_TYPES = {"end": "eos", "stop": "word", "length": "limit", "cancelled": "none"}
Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """The endpoints of one server."""

    service: Service

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize."""
        body = await read_json(request, self.service.settings.limits, Tokenize)
        body.require_served()
        tokenizer = self.service.model.tokenizer

        def encode() -> list[int]:
            chosen = tokenizer if body.parse_special else prompts.plain_tokenizer(tokenizer)
            ids: list[int] = chosen.encode(body.content, add_special_tokens=body.add_special).ids
            return ids

        ids = await asyncio.to_thread(encode)
        pieces = [{"id": token, "piece": self._piece(token)} for token in ids] if body.with_pieces else ids
        return JSONResponse({"tokens": pieces})

    def _piece(self, token: int) -> str | list[int]:
        """A token's text, or its bytes if they are not valid UTF-8 on their own."""
        content = token_bytes(self.service.model.tokenizer, token)
        try:
            return content.decode()
        except UnicodeDecodeError:
            return list(content)

    async def detokenize(self, request: Request) -> Response:
        """POST /detokenize."""
        body = await read_json(request, self.service.settings.limits, Detokenize)
        body.require_served()
        model = self.service.model
        ids = prompts.require_ids(model, body.tokens, "tokens") if body.tokens else []
        content = await asyncio.to_thread(model.tokenizer.decode, ids, skip_special_tokens=False)
        return JSONResponse({"content": content})

    async def apply_template(self, request: Request) -> Response:
        """POST /apply-template."""
        body = await read_json(request, self.service.settings.limits, ApplyTemplate)
        body.require_served()
        messages = [prompts.template_message(one.model_dump(exclude_none=True)) for one in body.messages]
        tools = [tool.model_dump(exclude_none=True) for tool in body.tools or ()] or None
        text = await asyncio.to_thread(prompts.render_prompt, self.service.model, messages, tools)
        return JSONResponse({"prompt": text})

    async def props(self, _: Request) -> Response:
        """GET /props."""
        model = self.service.model
        special = model.text.special_tokens
        return JSONResponse(
            {
                "default_generation_settings": {"n_ctx": model.n_ctx, "params": default_settings()},
                "total_slots": self.service.settings.limits.slots,
                "model_alias": self.service.card.name,
                "model_path": self.service.card.name,  # the name: paths of this machine are not disclosed
                "modalities": {"vision": False, "audio": False},
                "chat_template": model.chat_template or "",
                "bos_token": special.get("bos_token", ""),
                "eos_token": special.get("eos_token", ""),
                "build_info": f"llorch {__version__}",
                "mode": model.mode,
            }
        )

    async def completion(self, request: Request) -> Response:
        """POST /completion."""
        self.service.require_ready()
        body = await read_json(request, self.service.settings.limits, Completion)
        body.require_served()
        model = self.service.model
        if isinstance(body.prompt, str):
            ids = await asyncio.to_thread(prompts.encode, model, body.prompt)
        else:
            ids = prompts.require_ids(model, body.prompt)
        room = max(model.n_ctx - len(ids), 0)
        ask = Ask(
            [ids],
            body.sampling(),
            max_new_tokens=room if body.n_predict == -1 else min(body.n_predict, room),
            stop=body.stop,
            ignore_end=body.ignore_eos,
            top_logprobs=body.n_probs or None,
        )
        generations = self.service.generate(ask)
        if body.stream:
            events = self._events(generations, body, ids)
            return EventStream(events, self.service.settings.limits.write_s, generations.cancel)
        async with generations:
            return JSONResponse(await unless_disconnected(request, self._whole(generations, body, ids)))

    async def _whole(self, generations: Generations, body: Completion, ids: Sequence[int]) -> Document:
        tokens: list[Token] = []
        async for _, event in generations:
            if isinstance(event, Token):
                tokens.append(event)
            elif isinstance(event, Failed):
                raise ApiError(500, event.message, code=event.code.lower())
            elif isinstance(event, Finished):
                content = "".join(token.step.text for token in tokens) + event.text
                steps = [token.step for token in tokens]
                return {**self._part_document(content, steps, body), **self._end_document(event, body, ids)}
        raise AssertionError("generations end with an event that says so")

    async def _events(
        self, generations: Generations, body: Completion, ids: Sequence[int]
    ) -> AsyncIterator[bytes]:
        held: list[Step] = []
        async for _, event in generations:
            if isinstance(event, Token):
                held.append(event.step)
                if event.step.text:
                    yield encode_event(
                        {**self._part_document(event.step.text, held, body), "stop": False, "index": 0}
                    )
                    held = []
            elif isinstance(event, Failed):
                yield encode_event(ApiError(500, event.message, code=event.code.lower()).document())
            elif isinstance(event, Finished):
                yield encode_event(
                    {
                        **self._part_document(event.text, held, body),
                        **self._end_document(event, body, ids),
                        "index": 0,
                    }
                )

    def _part_document(self, content: str, steps: Sequence[Step], body: Completion) -> Document:
        """A part of the answer: its text, its tokens if streaming or asked for, their log probabilities."""
        document: Document = {"content": content}
        if body.stream or body.return_tokens:
            document["tokens"] = [step.token for step in steps]
        if body.n_probs:
            document["completion_probabilities"] = [self._probabilities(step) for step in steps]
        return document

    def _probabilities(self, step: Step) -> Document:
        assert step.chosen is not None
        tokenizer = self.service.model.tokenizer

        def one(token: int, value: float) -> Document:
            content = list(token_bytes(tokenizer, token))
            return {"id": token, "token": token_text(tokenizer, token), "bytes": content, "logprob": value}

        top = [one(other.token, other.value) for other in step.top]
        return {**one(step.chosen.token, step.chosen.value), "top_logprobs": top}

    def _end_document(self, event: Finished, body: Completion, ids: Sequence[int]) -> Document:
        """The fields of the last part beside its text."""
        return {
            "stop": True,
            "model": self.service.card.name,
            "tokens_predicted": event.tokens,
            "tokens_evaluated": len(ids),
            "tokens_cached": 0,
            "truncated": False,
            "stop_type": STOP_TYPES[event.finish],
            "stopping_word": event.stopped_by or "",
            "generation_settings": body.model_dump(exclude={"prompt"}),
            "timings": timings(event, len(ids)),
        }


def default_settings() -> Document:
    """The default values of a completion's fields."""
    fields = Completion.model_fields.items()
    return {name: field.default for name, field in fields if not field.is_required()}


def timings(event: Finished, prompt: int) -> Document:
    """Durations of the prompt and the answer, in milliseconds and in tokens per second."""

    def of(name: str, count: int, seconds: float) -> Document:
        return {
            f"{name}_n": count,
            f"{name}_ms": 1000 * seconds,
            f"{name}_per_token_ms": 1000 * seconds / count if count else 0.0,
            f"{name}_per_second": count / seconds if seconds else 0.0,
        }

    return {**of("prompt", prompt, event.prompt_s), **of("predicted", event.tokens, event.decode_s)}
