"""WordPiece (`bert`): greedy longest match within words, after BERT's normalization.

llama.cpp's converter changed the texts: `##ing` became `ing`, and tokens that begin a word got U+2581 in front. That
is undone here. Source: llama.cpp, conversion/bert.py and src/llama-vocab.cpp, `llm_tokenizer_wpm_session`.
"""

from __future__ import annotations

from collections import Counter

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.bpe import BLANK, Form
from llorch.formats.tokenizer.special import ID_KEYS, SpecialTokens, template
from llorch.formats.tokenizer.vocabulary import (
    TOKENS,
    Json,
    Recipe,
    TokenType,
    Vocabulary,
    require_unused_scores_fit,
)

LOWERCASE = "tokenizer.ggml.normalizer.lowercase"
STRIP_ACCENTS = "tokenizer.ggml.normalizer.strip_accents"


def wordpiece(metadata: Metadata, vocabulary: Vocabulary, special: SpecialTokens, form: Form) -> Recipe:
    """Return the recipe of a BERT vocabulary, with the tokens' texts as the authors wrote them."""
    require_unused_scores_fit(metadata, len(vocabulary))
    if "unk" not in special.ids:
        raise MalformedInput("is missing", where=f"key '{ID_KEYS['unk']}'")
    tokens = original_texts(vocabulary)
    lowercase = metadata.flag(LOWERCASE, True)
    strip_accents = metadata.flag(STRIP_ACCENTS, lowercase)
    normalizer: Json = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": strip_accents,
        "lowercase": lowercase,
    }
    first = special.ids.get("bos", special.ids.get("cls"))  # llama.cpp's BOS is BERT's [CLS]
    begin = [] if first is None else [first]
    end = [special.ids["sep"]] if "sep" in special.ids else []
    return Recipe(
        normalizer if form == "authors" else _as_llama_cpp(normalizer),
        {"type": "BertPreTokenizer"},
        {
            "type": "WordPiece",
            "unk_token": tokens[special.ids["unk"]],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100 if form == "authors" else 1_000_000,
            "vocab": {token: index for index, token in enumerate(tokens)},
        },
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        template(tokens, [*begin, "A", *end], [*begin, "A", *end, "B", *end]),
        clean_up=True,
        tokens=tokens,
    )


def original_texts(vocabulary: Vocabulary) -> list[str]:
    """Return the tokens as in BERT's vocab.txt; MalformedInput if two become the same."""
    kept = (TokenType.CONTROL, TokenType.UNKNOWN)
    tokens = []
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        if kind in kept:
            tokens.append(token)
        elif token.startswith(BLANK) and len(token) > 1:
            tokens.append(token[1:])
        elif token.startswith("[") and token.endswith("]"):  # old files typed these as ordinary words
            tokens.append(token)
        else:
            tokens.append("##" + token)
    if len(set(tokens)) != len(tokens):
        text = Counter(tokens).most_common(1)[0][0]
        raise MalformedInput(
            f"two tokens are {printable(text)} in WordPiece's spelling", where=f"key '{TOKENS}'"
        )
    return tokens


def _as_llama_cpp(normalizer: Json) -> Json:
    """Return the normalizer with llama.cpp's deviations: three controls are blanks, and all marks are removed."""
    steps: list[Json] = [
        {"type": "Replace", "pattern": {"Regex": "[\x0b\x0c\x85]"}, "content": " "},
        normalizer,
    ]
    if normalizer["strip_accents"]:
        steps.append({"type": "Replace", "pattern": {"Regex": "\\p{M}|[\u1160-\u11ff]"}, "content": ""})
    return {"type": "Sequence", "normalizers": steps}
