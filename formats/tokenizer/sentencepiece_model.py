"""tokenizer.model: a vocabulary of the SentencePiece kinds as the `sentencepiece` package keeps it.

Readers of the original want this file beside tokenizer.json: llama.cpp's converter, candle's examples, mistral's tools.
GGUF has the pieces, their scores and types, and the flags of the normalizer; the trainer's other settings are lost and
change no text's ids.
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

PIECES_AT_ONCE = 1 << 13  # as protobuf's messages a piece takes ten times the memory of its bytes


@dataclass(frozen=True, slots=True)
class SentencePieceFile:
    """tokenizer.model, or why there is none: `content` is None for other kinds too, and `note` empty then."""

    content: bytes | None
    note: str = ""


def sentencepiece_model(metadata: Metadata, vocabulary: Vocabulary | None = None) -> SentencePieceFile:
    """The tokenizer.model of a file's vocabulary; the same bytes for the same metadata.

    vocabulary: the file's, where it has been read already.
    It raises what `build_tokenizer` raises for a vocabulary that contradicts itself.
    """
    kind = metadata.text(MODEL)
    if kind not in SENTENCEPIECE_KINDS:
        return SentencePieceFile(None)
    vocabulary = vocabulary or read_vocabulary(metadata)
    scores = read_scores(metadata, len(vocabulary))
    if scores is None or (kind == "llama" and has_one_score(vocabulary, scores)):
        return _refuse("all tokens have one score: their order is that of the merges, which it cannot hold")
    if kind == "llama" and not vocabulary.typed:
        vocabulary = _with_byte_types(vocabulary)
    special = read_special(metadata, vocabulary, FAMILIES[kind], add_bos=False)
    size = piece_count(metadata, vocabulary, scores)
    unknown = _unknown(vocabulary, special, size)
    if unknown is None:
        return _refuse("no piece is the unknown one")
    roles = {role: _role(role, vocabulary, special, size) for role in ("bos", "eos", "pad")}
    if roles["pad"] in (unknown, roles["bos"], roles["eos"]):
        roles["pad"] = -1  # a converter's stand-in
    user_defined = metadata.text("general.architecture", "") in USER_DEFINED_FAMILIES
    added_type = TokenType.USER_DEFINED if user_defined else TokenType.CONTROL
    content = _serialize(metadata, kind, _Pieces(vocabulary, scores, size, unknown, roles, added_type))
    why = _why_refused(content)
    return SentencePieceFile(content) if why is None else _refuse(why)


def _with_byte_types(vocabulary: Vocabulary) -> Vocabulary:
    """A vocabulary whose file gives no types: llama.cpp finds the tokens of bytes by their texts."""
    ids = (vocabulary.ids.get(f"<0x{byte:02X}>") for byte in range(256))
    types = [*vocabulary.types]
    for index in ids:
        if index is not None:
            types[index] = TokenType.BYTE
    return replace(vocabulary, types=types)


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


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The first `size` tokens as pieces.

    added_type: what those are that came from added_tokens_decoder as CONTROL.
    """

    vocabulary: Vocabulary
    scores: list[float]
    size: int
    unknown: int
    roles: Mapping[str, int]
    added_type: TokenType

    def piece(self, index: int) -> tuple[str, float, TokenType]:
        """Text, score and type of a piece."""
        text, score = self.vocabulary.tokens[index], self.scores[index]
        kind = _piece_type(self.vocabulary, index, self.unknown)
        added = index == self.unknown or is_added(self.vocabulary, self.scores, index)
        if added and kind == TokenType.CONTROL and index not in self.roles.values():
            kind = self.added_type
        if kind == TokenType.USER_DEFINED:
            text = text.replace(" ", BLANK)
        return text, 0.0 if added and score == ADDED_SCORE else score, kind

    def user_defined(self) -> list[str]:
        """The texts of the user-defined pieces."""
        special = (i for i, kind in enumerate(self.vocabulary.types[: self.size]) if kind != TokenType.NORMAL)
        return [text for text, _, kind in map(self.piece, special) if kind == TokenType.USER_DEFINED]


def _serialize(metadata: Metadata, kind: str, pieces: _Pieces) -> bytes:
    """The ModelProto, some thousand pieces at a time: messages of one kind in a row are one message."""
    from sentencepiece import sentencepiece_model_pb2 as protobuf  # protobuf takes a while to import

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
    remove = kind == "t5" and metadata.flag(
        REMOVE_BLANKS, False
    )  # of the other kind llama.cpp takes none out
    normalizer.name = "nmt_nfkc" if charsmap else "identity"
    normalizer.precompiled_charsmap = charsmap
    normalizer.add_dummy_prefix = metadata.flag(ADD_SPACE_PREFIX, kind == "llama") or remove
    normalizer.remove_extra_whitespaces = remove


def _why_refused(content: bytes) -> str | None:
    """What the sentencepiece package says of a model that it does not load."""
    import sentencepiece  # a compiled library, which the other kinds of vocabularies never need

    try:
        sentencepiece.SentencePieceProcessor(model_proto=content)
    except (RuntimeError, OSError, ValueError) as error:
        return f"the sentencepiece package refuses it: {printable(str(error), 200, quoted=False)}"
    return None


def _refuse(why: str) -> SentencePieceFile:
    return SentencePieceFile(None, f"{TOKENIZER_MODEL} is not written: {why}")
