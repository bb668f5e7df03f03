"""Prompts as token ids: from text, from ids, or from a conversation by the model's chat template."""

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
    """Encode a text with the tokenizer's defaults; special tokens written in it count as such."""
    ids: list[int] = model.tokenizer.encode(text).ids
    return require_nonempty(ids, "prompt")


def require_ids(model: Model, ids: Sequence[int], param: str = "prompt") -> list[int]:
    """Check ids that a client sent; ApiError for one outside the vocabulary."""
    try:
        require_known(ids, model.vocabulary_size)
    except UnknownToken as error:
        raise ApiError(400, str(error), param=param) from error
    return require_nonempty(list(ids), param)


def require_nonempty(ids: list[int], param: str) -> list[int]:
    """Return the ids; ApiError if there are none."""
    if not ids:
        raise ApiError(400, "the prompt is empty: it has no token to go on from", param=param)
    return ids


def render_prompt(model: Model, messages: Sequence[Message], tools: Sequence[Message] | None = None) -> str:
    """Render the conversation by the model's chat template, up to where the answer begins.

    ApiError if there is no template, if it rejects the conversation, or if it ignores the tools.
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
    """Token ids of a conversation."""
    return require_nonempty(
        encode_rendered(model.tokenizer, render_prompt(model, messages, tools)), "messages"
    )


def template_message(message: Message) -> dict[str, object]:
    """A message in the form that templates expect: text in one string, the arguments of tool calls as objects."""
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
    """A tool call with its arguments as an object instead of JSON text."""
    function = dict(call["function"]) if isinstance(call["function"], Mapping) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments)
        except ValueError as error:
            raise ApiError(400, "the arguments of a tool call are no JSON", param="messages") from error
    return {**call, "function": function}


def plain_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """A copy of the tokenizer that encodes the names of special tokens as plain text."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    return copy
