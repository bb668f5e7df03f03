"""A conversation with a model: the chat template renders the prompts, and each answer becomes part of the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypedDict

from llorch.base.errors import UnsupportedInput
from llorch.formats.chat_template import render
from llorch.runtime.generate import Stream
from llorch.runtime.model import GREEDY, Model
from llorch.runtime.sampling import Sampling
from llorch.runtime.text.prompt import encode_rendered


class Message(TypedDict):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Chat:
    """The messages so far and the model that answers them; UnsupportedInput if it has no chat template.

    Every prompt is rendered and computed anew from all messages, so that an answer depends on them alone.
    """

    def __init__(self, model: Model, messages: Iterable[Message] = ()) -> None:
        if model.chat_template is None:
            raise UnsupportedInput("has no chat template", path=model.path)
        self.model = model
        self.template = model.chat_template
        self.messages = list(messages)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the messages as the template renders them, up to where the model's answer begins."""
        rendered = render(
            self.template,
            messages,
            add_generation_prompt=True,
            special_tokens=self.model.text.special_tokens,
        )
        return encode_rendered(self.model.tokenizer, rendered)

    def ask(
        self,
        content: str,
        *,
        max_new_tokens: int | None = None,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
    ) -> Stream:
        """Start generating the answer; pass the completed stream to `add_answer` to keep it in the conversation."""
        messages: list[Message] = [*self.messages, {"role": "user", "content": content}]
        ids = self.prompt_ids(messages)
        stream = self.model.stream(ids, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
        self.messages = messages  # only now: a refused request must leave the conversation unchanged
        return stream

    def add_answer(self, stream: Stream) -> None:
        """Append the stream's text to the conversation as the assistant's message."""
        self.messages.append({"role": "assistant", "content": stream.generation.text})
