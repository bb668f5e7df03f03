"""A conversation with a model: its template makes the prompts, and each answer becomes part of the next."""

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
    """One turn."""

    role: Literal["system", "user", "assistant"]
    content: str


class Chat:
    """Messages so far, and what the model is asked next; UnsupportedInput where it has no template.

    Every prompt is rendered and computed anew from all messages, so that an answer depends on them alone.
    """

    def __init__(self, model: Model, messages: Iterable[Message] = ()) -> None:
        if model.chat_template is None:
            raise UnsupportedInput("has no chat template", path=model.path)
        self.model = model
        self.template = model.chat_template
        self.messages = list(messages)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Messages as the template writes them, up to where the model's answer begins."""
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
        """The answer, as it comes; give it to `answered` once it is complete, if it is to be remembered."""
        messages: list[Message] = [*self.messages, {"role": "user", "content": content}]
        ids = self.prompt_ids(messages)
        stream = self.model.stream(ids, max_new_tokens=max_new_tokens, sampling=sampling, stop=stop)
        self.messages = messages  # only now: what was refused has not been said
        return stream

    def answered(self, stream: Stream) -> None:
        """Makes the stream's text the assistant's turn."""
        self.messages.append({"role": "assistant", "content": stream.generation.text})
