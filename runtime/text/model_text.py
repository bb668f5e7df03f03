"""What a model's files provide for text: tokenizer, end tokens, chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Text:
    """The tokenizer of a model and the facts that belong to it.

    end_ids: tokens that end a generation. chat_template: a Jinja template, or None. special_tokens: available to the
    template by name (`bos_token`, …). suppressed: ids that are never sampled. size: the tokenizer's ids are below it;
    rows of the output layer from there on are padding, and never sampled either.
    """

    tokenizer: Tokenizer
    end_ids: tuple[int, ...]
    chat_template: str | None
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    suppressed: tuple[int, ...] = ()
    size: int | None = None
