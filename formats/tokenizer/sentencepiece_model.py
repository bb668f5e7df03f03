"""tokenizer.model: a SentencePiece vocabulary as the `sentencepiece` package stores it.

Some readers need it beside tokenizer.json: llama.cpp's converter, candle's examples, Mistral's tools. GGUF has the
pieces, their scores and types, and the normalizer's flags; the trainer's other settings are lost, but they do not
affect ids.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llorch.base.printable import printable
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

# The score that llama.cpp's converter gives tokens of added_tokens_decoder, replacing the piece's own.
# Source: llama.cpp, conversion/base.py, `_create_vocab_sentencepiece`.
ADDED_SCORE = -1000.0

# Numbers of pieces of published files that are followed by tokens from tokenizer_config.json alone. For other models
# the pieces end before the final run of added tokens.
PUBLISHED_PIECES: Mapping[str, int] = {"gemma3": 262144, "gemma3n": 262144}

# Families whose tokenizer.model has user-defined pieces that the converter types CONTROL because of their texts: in
# Gemma's published files only <pad>, <eos> and <bos> are control pieces.
USER_DEFINED_FAMILIES = ("gemma", "gemma2", "gemma3", "gemma3n")

# Trainer settings without effect on a finished model, as in the published models.
TRAINER = {"split_digits": True, "allow_whitespace_only_pieces": True}

PIECES_AT_ONCE = 1 << 13  # a piece takes ten times its serialized size as a protobuf message


@dataclass(frozen=True, slots=True)
class SentencePieceFile:
    """tokenizer.model, or why there is none. For other kinds of vocabulary `content` is None and `note` empty."""

    content: bytes | None
    note: str = ""


def sentencepiece_model(metadata: Metadata, vocabulary: Vocabulary | None = None) -> SentencePieceFile:
    """Build the tokenizer.model of a file's vocabulary; the same metadata gives the same bytes.

    vocabulary: the file's, if it has already been read.
    Raises what `build_tokenizer` raises for an inconsistent vocabulary.
    """
    kind = metadata.text(MODEL)
    if kind not in SENTENCEPIECE_KINDS:
        return SentencePieceFile(None)
    vocabulary = vocabulary or read_vocabulary(metadata)
    scores = read_scores(metadata, len(vocabulary))
    if scores is None or (kind == "llama" and has_one_score(vocabulary, scores)):
        return _no_file("all tokens have one score: their order is that of the merges, which it cannot hold")
    if kind == "llama" and not vocabulary.typed:
        vocabulary = _with_byte_types(vocabulary)
    special = read_special(metadata, vocabulary, FAMILIES[kind], add_bos=False)
    size = piece_count(metadata, vocabulary, scores)
    unknown = _unknown(vocabulary, special, size)
    if unknown is None:
        return _no_file("no piece is the unknown one")
    roles = {role: _role(role, vocabulary, special, size) for role in ("bos", "eos", "pad")}
    if roles["pad"] in (unknown, roles["bos"], roles["eos"]):
        roles["pad"] = -1  # a converter's stand-in
    user_defined = metadata.text("general.architecture", "") in USER_DEFINED_FAMILIES
    added_type = TokenType.USER_DEFINED if user_defined else TokenType.CONTROL
    content = _serialize(metadata, kind, _Pieces(vocabulary, scores, size, unknown, roles, added_type))
    why = _load_error(content)
    return SentencePieceFile(content) if why is None else _no_file(why)


def _with_byte_types(vocabulary: Vocabulary) -> Vocabulary:
    """Type byte tokens by their texts, as llama.cpp does for a file without types."""
    ids = (vocabulary.ids.get(f"<0x{byte:02X}>") for byte in range(256))
    types = [*vocabulary.types]
    for index in ids:
        if index is not None:
            types[index] = TokenType.BYTE
    return replace(vocabulary, types=types)


def is_added(vocabulary: Vocabulary, scores: list[float], index: int) -> bool:
    """Return whether a token came from the original's added_tokens_decoder, according to its score."""
    special = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
    return scores[index] == ADDED_SCORE and vocabulary.types[index] in special


def added_in_config(metadata: Metadata, vocabulary: Vocabulary, kind: str, added: list[Json]) -> list[Json]:
    """Return those added tokens of tokenizer.json that the original had in its tokenizer_config.json, too.

    For a SentencePiece vocabulary these are the tokens that the converter took from there, by their scores, and what
    tokenizer.model cannot tell the converter: user-defined pieces, and tokens after the pieces.
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
    """Return how many of the first tokens are pieces of the original tokenizer.model."""
    published = PUBLISHED_PIECES.get(metadata.text("general.architecture", ""))
    if published is not None and published <= len(vocabulary):
        return published
    size = len(vocabulary)
    while size and (is_added(vocabulary, scores, size - 1) or _is_filler(vocabulary, size - 1)):
        size -= 1
    return size


def _is_filler(vocabulary: Vocabulary, index: int) -> bool:
    """Return whether a token is padding of the embedding by its text; older converters gave it other types."""
    return vocabulary.tokens[index] == f"[PAD{index}]"


def _unknown(vocabulary: Vocabulary, special: SpecialTokens, size: int) -> int | None:
    """Return the id of the unknown piece: by type, by text (converters type `<unk>` CONTROL), or by key."""
    if vocabulary.types[:size].count(TokenType.UNKNOWN) == 1:
        return vocabulary.types.index(TokenType.UNKNOWN)
    for index in (vocabulary.ids.get("<unk>"), special.ids.get("unk")):
        if index is not None and index < size:
            return index
    return None


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The first `size` tokens as pieces.

    added_type: the type of pieces that came from added_tokens_decoder typed CONTROL.
    """

    vocabulary: Vocabulary
    scores: list[float]
    size: int
    unknown: int
    roles: Mapping[str, int]
    added_type: TokenType

    def piece(self, index: int) -> tuple[str, float, TokenType]:
        """Return text, score and type of a piece."""
        text, score = self.vocabulary.tokens[index], self.scores[index]
        kind = _piece_type(self.vocabulary, index, self.unknown)
        added = index == self.unknown or is_added(self.vocabulary, self.scores, index)
        if added and kind == TokenType.CONTROL and index not in self.roles.values():
            kind = self.added_type
        if kind == TokenType.USER_DEFINED:
            text = text.replace(" ", BLANK)
        return text, 0.0 if added and score == ADDED_SCORE else score, kind

    def user_defined(self) -> list[str]:
        """Return the texts of the user-defined pieces."""
        special = (i for i, kind in enumerate(self.vocabulary.types[: self.size]) if kind != TokenType.NORMAL)
        return [text for text, _, kind in map(self.piece, special) if kind == TokenType.USER_DEFINED]


def _serialize(metadata: Metadata, kind: str, pieces: _Pieces) -> bytes:
    """Serialize the ModelProto some thousand pieces at a time; concatenated protobuf messages merge into one."""
    from sentencepiece import sentencepiece_model_pb2 as protobuf  # protobuf is slow to import

    content = io.BytesIO()
    tokens, scores, types = pieces.vocabulary.tokens, pieces.scores, pieces.vocabulary.types
    for first in range(0, pieces.size, PIECES_AT_ONCE):
        part = protobuf.ModelProto()
        add = part.pieces.add
        for index in range(first, min(first + PIECES_AT_ONCE, pieces.size)):
            if types[index] == TokenType.NORMAL and index != pieces.unknown:  # nearly all of them
                add(piece=tokens[index], score=scores[index])
                continue
            text, score, piece_type = pieces.piece(index)
            piece = add(piece=text, score=score)
            if piece_type != TokenType.NORMAL:
                piece.type = int(piece_type)
        content.write(part.SerializeToString(deterministic=True))
    last = protobuf.ModelProto()
    _describe_trainer(last.trainer_spec, kind, pieces)
    _describe_normalizer(last.normalizer_spec, kind, metadata)
    content.write(last.SerializeToString(deterministic=True))
    return content.getvalue()


def _role(role: str, vocabulary: Vocabulary, special: SpecialTokens, size: int) -> int:
    """Return the id of bos, eos or pad among the pieces, −1 for none.

    A fine-tuned model's key may name a token added after the pieces; then the trainer's own is taken to be the usual
    one.
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
        return TokenType.UNUSED  # a model has exactly one unknown piece
    return TokenType.NORMAL if kind == TokenType.UNDEFINED else kind


def _describe_trainer(trainer: protobuf.TrainerSpec, kind: str, pieces: _Pieces) -> None:
    trainer.model_type = trainer.BPE if kind == "llama" else trainer.UNIGRAM
    trainer.vocab_size = pieces.size
    trainer.user_defined_symbols.extend(pieces.user_defined())
    for name, value in TRAINER.items():
        setattr(trainer, name, value)
    trainer.byte_fallback = TokenType.BYTE in pieces.vocabulary.types[: pieces.size]
    for role, index in {"unk": pieces.unknown, **pieces.roles}.items():
        setattr(trainer, f"{role}_id", index)
        if index >= 0 and (text := pieces.piece(index)[0]) != getattr(trainer, f"{role}_piece"):
            setattr(trainer, f"{role}_piece", text)


def _describe_normalizer(normalizer: protobuf.NormalizerSpec, kind: str, metadata: Metadata) -> None:
    charsmap = read_charsmap(metadata) if kind == "t5" else b""
    remove = kind == "t5" and metadata.flag(REMOVE_BLANKS, False)  # llama.cpp removes none for "llama"
    normalizer.name = "nmt_nfkc" if charsmap else "identity"
    normalizer.precompiled_charsmap = charsmap
    normalizer.add_dummy_prefix = metadata.flag(ADD_SPACE_PREFIX, kind == "llama") or remove
    normalizer.remove_extra_whitespaces = remove


def _load_error(content: bytes) -> str | None:
    """Return the sentencepiece package's error for a model that it does not load; None if it does."""
    import sentencepiece  # a compiled library, needed for no other kind of vocabulary

    try:
        sentencepiece.SentencePieceProcessor(model_proto=content)
    except (RuntimeError, OSError, ValueError) as error:
        return f"the sentencepiece package refuses it: {printable(str(error), 200, quoted=False)}"
    return None


def _no_file(why: str) -> SentencePieceFile:
    return SentencePieceFile(None, f"{TOKENIZER_MODEL} is not written: {why}")
