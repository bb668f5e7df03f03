"""SentencePiece Unigram (`t5`): the segmentation of a text with the highest sum of scores.

Source: llama.cpp, src/llama-vocab.cpp, `llm_tokenizer_ugm_session`.
"""

from __future__ import annotations

import base64

from llorch.base.errors import MalformedInput
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.bpe import BLANK
from llorch.formats.tokenizer.charsmap import blank_characters, read_charsmap
from llorch.formats.tokenizer.special import ID_KEYS, SpecialTokens, post_processor
from llorch.formats.tokenizer.spm import ADD_SPACE_PREFIX
from llorch.formats.tokenizer.vocabulary import SCORES, Json, Recipe, TokenType, Vocabulary, read_scores

REMOVE_BLANKS = "tokenizer.ggml.remove_extra_whitespaces"


def unigram(metadata: Metadata, vocabulary: Vocabulary, special: SpecialTokens) -> Recipe:
    """Return the recipe of a Unigram vocabulary; MalformedInput if it has no scores or a damaged charsmap."""
    scores = read_scores(metadata, len(vocabulary))
    if scores is None:
        raise MalformedInput("is missing", where=f"key '{SCORES}'")
    if "unk" not in special.ids:
        raise MalformedInput("is missing", where=f"key '{ID_KEYS['unk']}'")
    remove = metadata.flag(REMOVE_BLANKS, False)
    prefix = metadata.flag(ADD_SPACE_PREFIX, False) or remove
    steps = normalization(read_charsmap(metadata), remove=remove, prefix=prefix)
    return Recipe(
        {"type": "Sequence", "normalizers": steps} if steps else None,
        _metaspace("never", split=False),
        {
            "type": "Unigram",
            "unk_id": special.ids["unk"],
            "vocab": [
                list(row) for row in zip(vocabulary.tokens, _clamp_scores(vocabulary, scores), strict=True)
            ],
            "byte_fallback": False,
        },
        _metaspace("always" if prefix else "never", split=True),
        post_processor(special, vocabulary.tokens),
    )


def normalization(charsmap: bytes, *, remove: bool, prefix: bool) -> list[Json]:
    """Return the normalizers: the charsmap, removal of extra blanks if `remove`, a leading blank if `prefix`."""
    steps: list[Json] = []
    if charsmap:
        # The library applies the map to grapheme clusters, so that CR LF would become one blank; llama.cpp applies it
        # to characters. So characters that become a blank are replaced beforehand.
        blanks = "".join("\\" + c if c in r"[]\^-&" else c for c in blank_characters(charsmap))
        if blanks:
            steps.append(_replace(f"[{blanks}]", " "))
        steps.append({"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()})
    if remove:
        steps += [_replace(r"\A +| +\z", ""), _replace(" {2,}", " ")]
    if prefix:
        steps.append(_replace(r"\A(?= *[^ ])", " "))
    return steps


def _clamp_scores(vocabulary: Vocabulary, scores: list[float]) -> list[float]:
    """Return scores with which the library computes llama.cpp's score of the unknown token.

    The library derives that score from all tokens, llama.cpp from the normal ones. Converters give padding -10000,
    which would make the unknown token costlier than any word.
    """
    lowest = min(
        (score for score, kind in zip(scores, vocabulary.types, strict=True) if kind == TokenType.NORMAL),
        default=0.0,
    )
    return [
        0.0 if kind == TokenType.USER_DEFINED else max(score, lowest)
        for score, kind in zip(scores, vocabulary.types, strict=True)
    ]


def _replace(pattern: str, content: str) -> Json:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}


def _metaspace(scheme: str, *, split: bool) -> Json:
    return {"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme, "split": split}
