"""Format generations as OpenAI's documents: chat and text completions, whole and in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llorch.runtime.request import Step
from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.job import Event, Failed, Finished, Token
from llorch.runtime.text.token_bytes import token_bytes, token_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from llorch.runtime.serving.service import Generations

FINISH = {"end": "stop", "stop": "stop", "length": "length", "cancelled": "stop"}
Document = dict[str, object]


@dataclass(slots=True)
class ShownToken:
    """A token whose text has been sent. offset: its position in the answer's text, in characters."""

    step: Step
    offset: int


@dataclass(slots=True)
class CollectedAnswer:
    """One answer, or the part of it since the last chunk.

    held: tokens whose text is still withheld; they are dropped if it turns out to be a stop string.
    """

    text: str = ""
    tokens: int = 0
    offset: int = 0
    shown: list[ShownToken] = field(default_factory=list)
    held: list[ShownToken] = field(default_factory=list)
    finished: Finished | None = None

    def take(self, event: Event) -> None:
        """Add an event."""
        if isinstance(event, Token):
            self.tokens += 1
            self.held.append(ShownToken(event.step, self.offset + len(self.text)))
            self.text += event.step.text
            if event.step.text:
                self.shown, self.held = [*self.shown, *self.held], []
        elif isinstance(event, Finished):
            self.text += event.text
            self.finished = event
            if event.finish != "stop":
                self.shown, self.held = [*self.shown, *self.held], []

    def next_part(self) -> CollectedAnswer:
        """The state for the next chunk."""
        return CollectedAnswer(offset=self.offset + len(self.text), held=self.held)

    @property
    def finish_reason(self) -> str | None:
        """OpenAI's finish reason; None while the answer continues."""
        return None if self.finished is None else FINISH[self.finished.finish]


async def collect(generations: Generations) -> list[CollectedAnswer]:
    """Collect all answers until the last is complete; ApiError if one failed."""
    answers = [CollectedAnswer() for _ in generations.requests]
    async for index, event in generations:
        if isinstance(event, Failed):
            raise ApiError(500, event.message, code=event.code.lower())
        answers[index].take(event)
    return answers


def usage(prompts: Sequence[Sequence[int]], made: Sequence[int]) -> Document:
    """OpenAI's token counts; a prompt counts once however many answers it has."""
    prompt, completion = sum(map(len, prompts)), sum(made)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


@dataclass(frozen=True, slots=True)
class Kind:
    """The format of one kind of completion.

    choice: formats a whole answer. delta: formats a chunk. first: formats the opening chunk, if that kind has one.
    """

    prefix: str
    object: str
    chunk_object: str
    choice: Callable[[int, CollectedAnswer], Document]
    delta: Callable[[int, CollectedAnswer], Document]
    first: Callable[[int], Document] | None = None


def chat_kind(tokenizer: Tokenizer) -> Kind:
    """The format of chat completions."""

    def choice(index: int, answer: CollectedAnswer) -> Document:
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        return chat_choice(index, "message", message, answer, tokenizer)

    def delta(index: int, chunk: CollectedAnswer) -> Document:
        content = {"content": chunk.text} if chunk.text else {}
        return chat_choice(index, "delta", content, chunk, tokenizer)

    def first(index: int) -> Document:
        opening = {"role": "assistant", "content": "", "refusal": None}
        return {"index": index, "delta": opening, "logprobs": None, "finish_reason": None}

    return Kind("chatcmpl", "chat.completion", "chat.completion.chunk", choice, delta, first)


def chat_choice(
    index: int, name: str, said: object, answer: CollectedAnswer, tokenizer: Tokenizer
) -> Document:
    """A choice of a chat completion, with its text under `name`."""
    steps = [shown.step for shown in answer.shown if shown.step.chosen is not None]
    logprobs = {"content": [chat_logprobs(step, tokenizer) for step in steps], "refusal": None}
    return {
        "index": index,
        name: said,
        "logprobs": logprobs if steps else None,
        "finish_reason": answer.finish_reason,
    }


def chat_logprobs(step: Step, tokenizer: Tokenizer) -> Document:
    """A token with its log probability and the alternatives."""
    assert step.chosen is not None

    def one(token: int, value: float) -> Document:
        return {
            "token": token_text(tokenizer, token),
            "logprob": value,
            "bytes": list(token_bytes(tokenizer, token)),
        }

    top = [one(other.token, other.value) for other in step.top]
    return {**one(step.chosen.token, step.chosen.value), "top_logprobs": top}


def text_kind(tokenizer: Tokenizer) -> Kind:
    """The format of text completions, whose chunks look like their answers."""

    def choice(index: int, answer: CollectedAnswer) -> Document:
        return {
            "index": index,
            "text": answer.text,
            "logprobs": text_logprobs(answer, tokenizer),
            "finish_reason": answer.finish_reason,
        }

    return Kind("cmpl", "text_completion", "text_completion", choice, choice)


def text_logprobs(answer: CollectedAnswer, tokenizer: Tokenizer) -> Document | None:
    """An answer's tokens, log probabilities and text offsets, each as a list; None if none were asked for."""
    shown = [one for one in answer.shown if one.step.chosen is not None]
    if not shown:
        return None

    chosen = [one.step.chosen for one in shown if one.step.chosen is not None]
    return {
        "tokens": [token_text(tokenizer, one.token) for one in chosen],
        "token_logprobs": [one.value for one in chosen],
        "top_logprobs": [
            {token_text(tokenizer, other.token): other.value for other in one.step.top} for one in shown
        ],
        "text_offset": [one.offset for one in shown],
    }
