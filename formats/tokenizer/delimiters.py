"""Chat delimiters that a file types as ordinary words: `<|im_end|>` would be cut into pieces and never end an answer.

A delimiter is a token whose text is known to end an answer, or that a chat template writes. If no merges make it from
text, a model can only have seen it as one token, so it is made a control token. llama.cpp makes tokens with the texts
that end an answer control tokens whatever their type. Source: src/llama-vocab.cpp, `llama_vocab::impl::load`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from llorch.base.printable import printable
from llorch.formats.tokenizer.merges import Merges
from llorch.formats.tokenizer.special import END_TEXTS
from llorch.formats.tokenizer.vocabulary import Json, TokenType, Vocabulary

# Matches delimiters in a template: <|im_start|>, <start_of_turn>, <｜User｜>, [INST], [/INST].
DELIMITER = re.compile(r"<[|｜]?[^\s<>|｜{}%'\"]{1,60}[|｜]?>|\[/?[A-Z_]{2,40}\]")
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Delimiters:
    """vocabulary: with delimiters typed as control tokens. warnings: name these, and the ones left as words."""

    vocabulary: Vocabulary
    warnings: tuple[str, ...]


def with_delimiters(vocabulary: Vocabulary, templates: Iterable[str], model: Json) -> Delimiters:
    """Retype delimiters that are typed as words as control tokens, where that is certain.

    templates: texts of the chat templates. model: of tokenizer.json, whose merges say which tokens text can become.
    """
    written = {text for template in templates for text in DELIMITER.findall(template)}
    words = (TokenType.NORMAL, TokenType.UNDEFINED, TokenType.UNUSED)
    named = [
        index
        for text in sorted(written.union(END_TEXTS))
        if (index := vocabulary.ids.get(text)) is not None and vocabulary.types[index] in words
    ]
    if not named or not vocabulary.typed:
        return Delimiters(vocabulary, ())
    merges: Merges | None = model.get("merges")
    control, left = [], []
    for index in sorted(named):
        text = vocabulary.tokens[index]
        sure = text in END_TEXTS and text in written
        if sure or (merges is not None and not merges.makes(index)):
            control.append(index)
        elif text in written:
            left.append(index)
    types = list(vocabulary.types)
    for index in control:
        types[index] = int(TokenType.CONTROL)
    warnings = []
    if control:
        names = _names(vocabulary, control)
        warnings.append(f"{names}: typed as ordinary words, taken for control tokens: they delimit a chat")
    if left:
        names = _names(vocabulary, left)
        warnings.append(
            f"{names}: the chat template writes them, and as ordinary words they are cut into pieces"
        )
    return Delimiters(replace(vocabulary, types=types), tuple(warnings))


def _names(vocabulary: Vocabulary, ids: list[int]) -> str:
    more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
    return ", ".join(printable(vocabulary.tokens[index]) for index in ids[:MOST_NAMED]) + more
