"""What a model's files say of text: tokenizer, end tokens, chat template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True)
class Text:
    """What a model's files say of text; made when it is first asked for.

    end_ids: tokens after which a generation stops. chat_template: a Jinja template, or None. special_tokens: what
    a template may call by name (`bos_token`, …). suppressed: ids that are never sampled. size: every token's id is
    below it; what the output layer has beyond is padding, and is never sampled either.
    """

    tokenizer: Tokenizer
    end_ids: tuple[int, ...]
    chat_template: str | None
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    suppressed: tuple[int, ...] = ()
    size: int | None = None
