"""tokenizer.model: a vocabulary of the SentencePiece kinds as the `sentencepiece` package keeps it.

Readers of the original want this file beside tokenizer.json: llama.cpp's converter, candle's examples, mistral's tools.
GGUF has the pieces, their scores and types, and the flags of the normalizer; the trainer's other settings are lost and
change no text's ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llorch.base.shown import shown
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.bpe import BLANK
from llorch.formats.tokenizer.charsmap import read_charsmap
from llorch.formats.tokenizer.padding import SENTENCEPIECE_KINDS
from llorch.formats.tokenizer.special import FAMILIES, SpecialTokens, read_special
from llorch.formats.tokenizer.spm import ADD_SPACE_PREFIX, has_one_score
from llorch.formats.tokenizer.unigram import REMOVE_BLANKS
from llorch.formats.tokenizer.vocabulary import (
    MODEL,
    Json,
    TokenType,
    Vocabulary,
    read_scores,
    read_vocabulary,
)

if TYPE_CHECKING:
    from sentencepiece import sentencepiece_model_pb2 as protobuf

TOKENIZER_MODEL = "tokenizer.model"

# The score that llama.cpp's converter gives what is in added_tokens_decoder, whatever the piece's own was.
# Source: llama.cpp, conversion/base.py, `_create_vocab_sentencepiece`.
ADDED_SCORE = -1000.0

# Pieces of the published file, where tokens follow that are added by tokenizer_config.json alone. Else the model ends
# before the last run of such tokens, which is right where what is added comes after all pieces.
PUBLISHED_PIECES: Mapping[str, int] = {"gemma3": 262144, "gemma3n": 262144}

# Families whose tokenizer.model has user-defined pieces where the converter types them CONTROL by their looks: in the
# published files of Gemma just <pad>, <eos> and <bos> are control pieces.
USER_DEFINED_FAMILIES = ("gemma", "gemma2", "gemma3", "gemma3n")

# Settings of the trainer that have no effect on a finished model, as the published models of these kinds have them.
TRAINER = {"split_digits": True, "allow_whitespace_only_pieces": True}


@dataclass(frozen=True, slots=True)
class SentencePieceFile:
    """tokenizer.model, or why there is none: `content` is None for other kinds too, and `note` empty then."""

    content: bytes | None
    note: str = ""


def sentencepiece_model(metadata: Metadata) -> SentencePieceFile:
    """The tokenizer.model of a file's vocabulary; the same bytes for the same metadata.

    It raises what `build_tokenizer` raises for a vocabulary that contradicts itself.
    """
    kind = metadata.text(MODEL)
    if kind not in SENTENCEPIECE_KINDS:
        return SentencePieceFile(None)
    vocabulary = read_vocabulary(metadata)
    scores = read_scores(metadata, len(vocabulary))
    if scores is None or (kind == "llama" and has_one_score(vocabulary, scores)):
        return _refused("all tokens have one score: their order is that of the merges, which it cannot hold")
    special = read_special(metadata, vocabulary, FAMILIES[kind], add_bos=False)
    size = piece_count(metadata, vocabulary, scores)
    unknown = _unknown(vocabulary, special, size)
    if unknown is None:
        return _refused("no piece is the unknown one")
    content = _serialized(metadata, kind, vocabulary, scores, special, size=size, unknown=unknown)
    why = _why_refused(content)
    return SentencePieceFile(content) if why is None else _refused(why)


def is_added(vocabulary: Vocabulary, scores: list[float], index: int) -> bool:
    """Whether a token came from the original's added_tokens_decoder, as its score tells."""
    special = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    return scores[index] == ADDED_SCORE and vocabulary.types[index] in special


def added_in_config(metadata: Metadata, vocabulary: Vocabulary, kind: str, added: list[Json]) -> list[Json]:
    """Those of tokenizer.json's added tokens that the original had in its tokenizer_config.json as well.

    For a SentencePiece kind these are what the converter took from there, which their scores tell, and what
    tokenizer.model cannot say to it: a user-defined piece, and what comes after the pieces.
    """
    scores = read_scores(metadata, len(vocabulary)) if kind in SENTENCEPIECE_KINDS else None
    if scores is None or has_one_score(vocabulary, scores):
        return added
    pieces = piece_count(metadata, vocabulary, scores)
    return [
        token
        for token in added
        if vocabulary.types[token["id"]] == TokenType.USER_DEFINED
        or is_added(vocabulary, scores, token["id"])
        or token["id"] >= pieces
    ]


def piece_count(metadata: Metadata, vocabulary: Vocabulary, scores: list[float]) -> int:
    """How many of the tokens, from the first, are pieces of the original tokenizer.model."""
    published = PUBLISHED_PIECES.get(metadata.text("general.architecture", ""))
    if published is not None and published <= len(vocabulary):
        return published
    size = len(vocabulary)
    while size and (is_added(vocabulary, scores, size - 1) or _is_filler(vocabulary, size - 1)):
        size -= 1
    return size


def _is_filler(vocabulary: Vocabulary, index: int) -> bool:
    """Padding of the embedding, which older converters typed otherwise."""
    return vocabulary.tokens[index] == f"[PAD{index}]"


def _unknown(vocabulary: Vocabulary, special: SpecialTokens, size: int) -> int | None:
    """The one unknown piece: by its type, by its text (converters type `<unk>` CONTROL), or by the key."""
    if vocabulary.types[:size].count(TokenType.UNKNOWN) == 1:
        return vocabulary.types.index(TokenType.UNKNOWN)
    for index in (vocabulary.ids.get("<unk>"), special.ids.get("unk")):
        if index is not None and index < size:
            return index
    return None


def _serialized(
    metadata: Metadata,
    kind: str,
    vocabulary: Vocabulary,
    scores: list[float],
    special: SpecialTokens,
    *,
    size: int,
    unknown: int,
) -> bytes:
    from sentencepiece import sentencepiece_model_pb2 as protobuf  # protobuf takes a while to import

    model = protobuf.ModelProto()
    roles = {role: _role(role, vocabulary, special, size) for role in ("bos", "eos", "pad")}
    if roles["pad"] in (unknown, roles["bos"], roles["eos"]):
        roles["pad"] = -1  # a converter's stand-in
    ends = {unknown, *roles.values()}
    user_defined = metadata.text("general.architecture", "") in USER_DEFINED_FAMILIES
    add, tokens, types = model.pieces.add, vocabulary.tokens, vocabulary.types
    for index in range(size):
        if types[index] == TokenType.NORMAL and index != unknown:  # nearly all of them
            add(piece=tokens[index], score=scores[index])
            continue
        piece_type = _piece_type(vocabulary, index, unknown)
        added = index == unknown or is_added(vocabulary, scores, index)
        if user_defined and added and piece_type == TokenType.CONTROL and index not in ends:
            piece_type = TokenType.USER_DEFINED
        piece = add(
            piece=tokens[index], score=0.0 if added and scores[index] == ADDED_SCORE else scores[index]
        )
        if piece_type == TokenType.USER_DEFINED:
            piece.piece = tokens[index].replace(" ", BLANK)
            model.trainer_spec.user_defined_symbols.append(piece.piece)
        if piece_type != TokenType.NORMAL:
            piece.type = int(piece_type)
    byte_fallback = TokenType.BYTE in types[:size]
    _describe_trainer(model, kind, roles, unknown, byte_fallback=byte_fallback)
    normalizer = model.normalizer_spec
    charsmap = read_charsmap(metadata) if kind == "t5" else b""
    remove = metadata.flag(REMOVE_BLANKS, False)
    normalizer.name = "nmt_nfkc" if charsmap else "identity"
    normalizer.precompiled_charsmap = charsmap
    normalizer.add_dummy_prefix = metadata.flag(ADD_SPACE_PREFIX, kind == "llama") or (
        kind == "t5" and remove
    )
    normalizer.remove_extra_whitespaces = remove
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def _role(role: str, vocabulary: Vocabulary, special: SpecialTokens, size: int) -> int:
    """The id of bos, eos or pad among the pieces, −1 for none.

    A fine-tuned model's key may name a token that was added behind the pieces: the trainer's own is then the usual one.
    """
    index = special.ids.get(role)
    if index is None or index < size:
        return -1 if index is None else index
    usual = vocabulary.ids.get({"bos": "<s>", "eos": "</s>", "pad": "<pad>"}[role], size)
    return usual if usual < size else -1


def _piece_type(vocabulary: Vocabulary, index: int, unknown: int) -> TokenType:
    if index == unknown:
        return TokenType.UNKNOWN
    kind = TokenType(vocabulary.types[index])
    if kind == TokenType.UNKNOWN:
        return TokenType.UNUSED  # there is one unknown piece
    return TokenType.NORMAL if kind == TokenType.UNDEFINED else kind


def _describe_trainer(
    model: protobuf.ModelProto, kind: str, roles: Mapping[str, int], unknown: int, *, byte_fallback: bool
) -> None:
    trainer: Any = model.trainer_spec
    trainer.model_type = trainer.BPE if kind == "llama" else trainer.UNIGRAM
    trainer.vocab_size = len(model.pieces)
    for name, value in TRAINER.items():
        setattr(trainer, name, value)
    trainer.byte_fallback = byte_fallback
    for role, index in {"unk": unknown, **roles}.items():
        setattr(trainer, f"{role}_id", index)
        if index >= 0 and model.pieces[index].piece != getattr(trainer, f"{role}_piece"):
            setattr(trainer, f"{role}_piece", model.pieces[index].piece)


def _why_refused(content: bytes) -> str | None:
    """What the sentencepiece package says of a model that it does not load."""
    import sentencepiece  # a compiled library, which the other kinds of vocabularies never need

    try:
        sentencepiece.SentencePieceProcessor(model_proto=content)
    except (RuntimeError, OSError, ValueError) as error:
        return f"the sentencepiece package refuses it: {shown(str(error), 200, quoted=False)}"
    return None


def _refused(why: str) -> SentencePieceFile:
    return SentencePieceFile(None, f"{TOKENIZER_MODEL} is not written: {why}")
