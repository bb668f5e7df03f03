"""SentencePiece BPE (`llama`): merges derived from the scores of the tokens.

Source: llama.cpp, src/llama-vocab.cpp, `llm_tokenizer_spm_session`: it joins the neighbours whose joined text is the
token with the highest score first, the leftmost if scores are equal.
"""

from __future__ import annotations

import numpy as np

from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.bpe import BLANK, bpe_model, raw_decoder, read_merges, replace
from llorch.formats.tokenizer.cuts import all_cuts
from llorch.formats.tokenizer.merges import Merges
from llorch.formats.tokenizer.special import SpecialTokens, post_processor
from llorch.formats.tokenizer.vocabulary import (
    MERGES,
    Recipe,
    TokenType,
    Vocabulary,
    read_scores,
    require_short_tokens,
)

ADD_SPACE_PREFIX = "tokenizer.ggml.add_space_prefix"


def spm(metadata: Metadata, vocabulary: Vocabulary, special: SpecialTokens) -> Recipe:
    """Return the recipe of a vocabulary with scores."""
    scores = read_scores(metadata, len(vocabulary)) or [0.0] * len(vocabulary)
    prefix = metadata.flag(ADD_SPACE_PREFIX, True)
    warnings = []
    if not has_one_score(vocabulary, scores):
        merges = merges_from_scores(vocabulary, scores)
    elif MERGES in metadata:  # a vocabulary taken from a tokenizer.json has one score for all, and its merges
        merges = read_merges(metadata, vocabulary, raw=True)
    else:
        merges = merges_from_scores(vocabulary, scores)
        warnings.append(
            "all tokens have one score and there are no merges: the order in which tokens join is a guess"
        )
    missing = [byte for byte in range(256) if f"<0x{byte:02X}>" not in vocabulary.ids]
    if missing:
        warnings.append(
            f"{len(missing)} of the 256 byte tokens are missing: some text becomes the unknown token"
        )
    unknown = special.ids.get("unk")
    steps = [{"type": "Prepend", "prepend": BLANK}] if prefix else []
    return Recipe(
        {"type": "Sequence", "normalizers": [*steps, replace(" ", BLANK)]},
        None,
        bpe_model(
            vocabulary,
            merges,
            byte_fallback=True,
            fuse_unk=True,
            unk_token=None if unknown is None else vocabulary.tokens[unknown],
        ),
        raw_decoder(strip=prefix),
        post_processor(special, vocabulary.tokens),
        warnings=tuple(warnings),
    )


def merges_from_scores(vocabulary: Vocabulary, scores: list[float]) -> Merges:
    """Return every cut of a token into two tokens as a merge, ordered by score, then id, then place of the cut.

    Tokens of every type count, control tokens too, as they do in llama.cpp. UnsupportedInput for a vocabulary
    with such long tokens that this would take minutes.
    """
    require_short_tokens(vocabulary)
    cuts = all_cuts(vocabulary.tokens)
    order = np.argsort(-np.array(scores)[cuts.joined], kind="stable")
    return Merges(vocabulary.tokens, *(column[order].astype(np.int32) for column in cuts))


def has_one_score(vocabulary: Vocabulary, scores: list[float]) -> bool:
    """Return whether all normal tokens have the same score, which then gives no order."""
    pairs = zip(scores, vocabulary.types, strict=True)
    ordinary = (score for score, kind in pairs if kind == TokenType.NORMAL)
    first = next(ordinary, None)
    return first is not None and all(score == first for score in ordinary)
