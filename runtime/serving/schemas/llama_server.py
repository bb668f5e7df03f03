"""Request schemas of llama-server's endpoints, with its names and defaults."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from llorch.runtime.sampling import Sampling
from llorch.runtime.serving.schemas.fields import (
    Body,
    Penalty,
    Repetition,
    Seed,
    Share,
    Stop,
    Temperature,
    seed_of,
    top_p_of,
)
from llorch.runtime.serving.schemas.openai import Message, TokenId, Tool


class Tokenize(Body):
    """POST /tokenize.

    add_special: add the tokenizer's leading special tokens. parse_special: names of special tokens stand for them.
    """

    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Detokenize(Body):
    """POST /detokenize."""

    tokens: list[TokenId]


class ApplyTemplate(Body):
    """POST /apply-template."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=4096)]
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None


class Completion(Body):
    """POST /completion. n_predict: -1 is all that the context has room for. n_probs: alternatives per token."""

    IGNORED = frozenset(
        ("cache_prompt", "id_slot", "n_keep", "return_progress", "timings_per_token", "model")
    )
    REFUSED: ClassVar = {
        "dry_multiplier": (0, 0.0),
        "dynatemp_range": (0, 0.0),
        "grammar": ("",),
        "json_schema": ({},),
        "logit_bias": ([], {}),
        "lora": ([],),
        "min_keep": (0,),
        "mirostat": (0,),
        "n_cmpl": (1,),
        "n_indent": (0,),
        "post_sampling_probs": (False,),
        "repeat_last_n": (-1,),
        "response_fields": ([],),
        "samplers": (),
        "t_max_predict_ms": (0, -1),
        "typical_p": (1, 1.0),
        "xtc_probability": (0, 0.0),
    }

    prompt: str | list[TokenId]
    n_predict: Annotated[int, Field(ge=-1, le=2**31 - 1)] = -1
    temperature: Temperature = 0.8
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] = 40
    top_p: Share = 0.95
    min_p: Share = 0.05
    repeat_penalty: Repetition = 1.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    seed: Seed = -1
    stop: Annotated[list[Stop], Field(max_length=16)] = Field(default=[])
    stream: bool = False
    n_probs: Annotated[int, Field(ge=0, le=20)] = 0
    ignore_eos: bool = False
    return_tokens: bool = False

    def sampling(self) -> Sampling:
        """The sampling parameters; the runtime applies the temperature before the filters."""
        return Sampling(
            temperature=self.temperature,
            top_k=max(self.top_k, 0),
            top_p=top_p_of(self.top_p),
            min_p=self.min_p,
            repetition_penalty=self.repeat_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=seed_of(self.seed),
        )
