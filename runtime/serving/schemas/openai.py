"""Request schemas of OpenAI's chat and text completions, with fields that vLLM and llama-server add."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from llorch.runtime.sampling import Sampling
from llorch.runtime.serving.errors import ApiError
from llorch.runtime.serving.prompts import template_message
from llorch.runtime.serving.schemas.fields import (
    Body,
    Count,
    Penalty,
    Repetition,
    Seed,
    Share,
    Stop,
    Temperature,
    seed_of,
    top_p_of,
)

Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
TokenId = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Part(BaseModel):
    """A part of a message; only text is supported."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation; further fields are passed to the template."""

    model_config = ConfigDict(strict=True, extra="allow")

    role: Annotated[str, Field(min_length=1, max_length=64)]
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None


class FunctionCall(BaseModel):
    """The function that an earlier assistant message called."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A tool call in an earlier message."""

    model_config = ConfigDict(strict=True, extra="allow")

    function: FunctionCall


class Function(BaseModel):
    """A function that can be called; all its fields are passed to the template."""

    model_config = ConfigDict(strict=True, extra="allow")

    name: str


class Tool(BaseModel):
    """A tool that the model may call."""

    model_config = ConfigDict(strict=True, extra="allow")

    type: Literal["function"]
    function: Function


class StreamOptions(BaseModel):
    """include_usage: send a last event with token counts."""

    model_config = ConfigDict(strict=True, extra="ignore")

    include_usage: bool = False


class JsonSchema(BaseModel):
    """A schema that the answer must follow."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    name: str = ""
    document: dict[str, object] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """The format of the answer."""

    model_config = ConfigDict(strict=True, extra="ignore")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Completion(Body):
    """The fields that both kinds of completions share."""

    IGNORED = frozenset(
        (
            "metadata",
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_cache_retention",
            "safety_identifier",
            "service_tier",
            "store",
            "user",
        )
    )

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: Count | None = None
    min_p: Share | None = None
    repetition_penalty: Repetition | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None

    def sampling(self) -> Sampling:
        """The sampling parameters; OpenAI's default temperature is 1."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=self.top_k or 0,
            top_p=top_p_of(self.top_p),
            min_p=self.min_p or 0.0,
            repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            seed=seed_of(self.seed),
        )

    def stops(self) -> list[str]:
        """The stop strings as a list."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @property
    def includes_usage(self) -> bool:
        """Whether a stream ends with token counts."""
        return self.stream_options is not None and self.stream_options.include_usage

    def require_served(self) -> None:
        """See `Body.require_served`; also rejects stream_options without a stream, as OpenAI does."""
        super().require_served()
        if self.stream_options is not None and not self.stream:
            raise ApiError(400, "stream_options are for streams: set stream to true", param="stream_options")


class ChatCompletion(Completion):
    """POST /v1/chat/completions."""

    REFUSED: ClassVar = {
        "logit_bias": ({},),
        "functions": ([],),
        "function_call": ("none",),
        "audio": (),
        "modalities": (["text"],),
        "prediction": (),
        "reasoning_effort": (),
        "verbosity": (),
        "web_search_options": (),
    }

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    max_completion_tokens: Tokens | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, object] | None = None

    def require_served(self) -> None:
        """See `Completion.require_served`; also rejects fields that contradict each other."""
        super().require_served()
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
        if self.tool_choice is not None and self.tool_choice not in ("none", "auto"):
            raise ApiError(
                400,
                "a tool cannot be required: the model chooses ('auto') or is told of none ('none')",
                param="tool_choice",
                code="unsupported_parameter",
            )

    @property
    def new_tokens(self) -> int | None:
        """Maximum number of new tokens; max_completion_tokens is max_tokens' newer name and takes precedence."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def alternatives(self) -> int | None:
        """Number of alternatives per token; None without log probabilities."""
        return (self.top_logprobs or 0) if self.logprobs else None

    def conversation(self) -> list[dict[str, object]]:
        """The messages in the form that templates expect."""
        return [template_message(message.model_dump(exclude_none=True)) for message in self.messages]

    def template_tools(self) -> list[dict[str, object]] | None:
        """The tools to pass to the template."""
        if not self.tools or self.tool_choice == "none":
            return None
        return [tool.model_dump(exclude_none=True) for tool in self.tools]


class TextCompletion(Completion):
    """POST /v1/completions."""

    REFUSED: ClassVar = {"best_of": (1,), "echo": (False,), "logit_bias": ({},), "suffix": ("",)}

    prompt: (
        str
        | Annotated[list[str], Field(min_length=1)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1)]
    )
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None

    def prompts(self) -> list[str | list[int]]:
        """All prompts, each as text or as ids."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [list(self.prompt)]  # the first element is an id, so all are
        return list(self.prompt)


Message.model_rebuild()
