"""Prompts as token ids: of text, of ids that were given, of a conversation by the model's chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from llorch.base.errors import InputError
from llorch.formats.chat_template import render
from llorch.runtime.errors import UnknownToken
from llorch.runtime.model import require_known
from llorch.runtime.serving.errors import ApiError
from llorch.runtime.text.prompt import encode_rendered

if TYPE_CHECKING:
    from llorch.runtime.model import Model

Message = Mapping[str, object]


def encode(model: Model, text: str) -> list[int]:
    """A text as the tokenizer encodes it by itself, special tokens in it included."""
    ids: list[int] = model.tokenizer.encode(text).ids
    return require_some(ids, "prompt")


def require_ids(model: Model, ids: Sequence[int], param: str = "prompt") -> list[int]:
    """Ids that a client chose; ApiError for one that the vocabulary does not have."""
    try:
        require_known(ids, model.vocabulary_size)
    except UnknownToken as error:
        raise ApiError(400, str(error), param=param) from error
    return require_some(list(ids), param)


def require_some(ids: list[int], param: str) -> list[int]:
    """The ids; ApiError where there is none to go on from."""
    if not ids:
        raise ApiError(400, "the prompt is empty: it has no token to go on from", param=param)
    return ids


def render_prompt(model: Model, messages: Sequence[Message], tools: Sequence[Message] | None = None) -> str:
    """The conversation as the model's template writes it, up to where the answer begins.

    ApiError where there is no template, where it refuses the conversation, or where it leaves the tools out.
    """
    template = model.chat_template
    if template is None:
        raise ApiError(400, "the model has no chat template: use /v1/completions", code="no_chat_template")

    def by(tools: Sequence[Message] | None) -> str:
        return render(
            template,
            messages,
            add_generation_prompt=True,
            tools=tools,
            special_tokens=model.text.special_tokens,
        )

    try:
        text = by(tools)
        if tools and text == by(None):
            raise ApiError(400, "the model's chat template takes no tools", param="tools", code="unsupported")
    except InputError as error:
        raise ApiError(400, str(error), param="messages", code="template_error") from error
    return text


def chat(model: Model, messages: Sequence[Message], tools: Sequence[Message] | None = None) -> list[int]:
    """The ids of a conversation."""
    return require_some(encode_rendered(model.tokenizer, render_prompt(model, messages, tools)), "messages")


def template_message(message: Message) -> dict[str, object]:
    """A message as templates expect it: its text in one piece, a call's arguments as an object."""
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(str(part["text"]) for part in content)
    made = {key: value for key, value in message.items() if value is not None}
    made["content"] = "" if content is None else content
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        made["tool_calls"] = [with_object_arguments(call) for call in calls]
    return made


def with_object_arguments(call: Mapping[str, object]) -> dict[str, object]:
    """A call of a function whose arguments are an object and not its JSON."""
    function = dict(call["function"]) if isinstance(call["function"], Mapping) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments)
        except ValueError as error:
            raise ApiError(400, "the arguments of a tool call are no JSON", param="messages") from error
    return {**call, "function": function}


def plain_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that takes the names of special tokens for text."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    return copy
