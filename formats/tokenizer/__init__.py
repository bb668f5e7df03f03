"""Tokenizers: from a GGUF file's `tokenizer.ggml.*` keys to a Hugging Face folder's tokenizer files.

    files = build_tokenizer(header.metadata)
    files.files()                       # {"tokenizer.json": b"…", …}, ready to be written
    load_tokenizer(files).encode("…")   # tokenizers.Tokenizer

The vocabulary is checked first, without the tokenizers library: the library silently mistreats many inconsistent
vocabularies, and panics at some.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.bpe import Form, bpe, byte_characters
from llorch.formats.tokenizer.charsmap import CHARSMAP
from llorch.formats.tokenizer.delimiters import with_delimiters
from llorch.formats.tokenizer.document import document_bytes
from llorch.formats.tokenizer.padding import first_padding_id, without_padding
from llorch.formats.tokenizer.pretokenizers import NO_SPLITS, PreTokenizer, pretokenizer
from llorch.formats.tokenizer.sentencepiece_model import (
    TOKENIZER_MODEL,
    SentencePieceFile,
    added_in_config,
    sentencepiece_model,
)
from llorch.formats.tokenizer.special import (
    ADD_BOS,
    ADD_EOS,
    FAMILIES,
    FIM_KEYS,
    ID_KEYS,
    SpecialTokens,
    added_tokens,
    end_ids,
    named_roles,
    read_special,
    stored_id,
)
from llorch.formats.tokenizer.spm import ADD_SPACE_PREFIX, spm
from llorch.formats.tokenizer.templates import NAMES, TEMPLATE, TemplateReport, files_of, read_templates
from llorch.formats.tokenizer.unigram import REMOVE_BLANKS, unigram
from llorch.formats.tokenizer.vocabulary import (
    MERGES,
    MODEL,
    SCORES,
    TOKENS,
    TYPES,
    Json,
    Recipe,
    TokenType,
    Vocabulary,
    read_vocabulary,
)
from llorch.formats.tokenizer.wordpiece import LOWERCASE, STRIP_ACCENTS, wordpiece

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "TOKENIZER_MODEL",
    "Form",
    "SentencePieceFile",
    "TemplateReport",
    "TokenizerFiles",
    "build_tokenizer",
    "byte_characters",
    "load_tokenizer",
    "sentencepiece_model",
    "stored_id",
]

T = TypeVar("T")

PRE = "tokenizer.ggml.pre"
# for llama.cpp's query-document pairs; no effect on a single text's ids
ADD_SEP = "tokenizer.ggml.add_sep_token"
# Architectures for which transformers 5 builds a tokenizer class of its own → the pre-tokenizer of that class.
FORCED_PRETOKENIZERS = {"qwen2": "qwen2", "qwen35": "qwen35", "qwen35moe": "qwen35"}
# The original's tokenizer classes, where transformers ignores the class but llama.cpp's converter depends on it: for
# phi3 with this class it reads tokenizer.json, else tokenizer.model. Source: llama.cpp, conversion/phi.py; transformers
# 5.23, models/auto/tokenization_auto.py, MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS, has phi3.
ORIGINAL_CLASSES = {("phi3", "gpt2"): "GPT2Tokenizer"}
USED_KEYS = frozenset(
    {MODEL, PRE, TOKENS, TYPES, SCORES, MERGES, ADD_BOS, ADD_EOS, ADD_SEP, ADD_SPACE_PREFIX, TEMPLATE, NAMES}
    | {CHARSMAP, REMOVE_BLANKS, LOWERCASE, STRIP_ACCENTS}
    | set(ID_KEYS.values())
    | set(FIM_KEYS)
)

# Tokenizer models of llama.cpp that no tokenizer.json can express, or that have no vocabulary.
REFUSED = {
    "rwkv": "its longest-match rule over bytes has no equivalent in tokenizer.json",
    "plamo2": "its search over suffixes has no equivalent in tokenizer.json",
    "whitespace": "it drops the blanks between words, so that no text can be had back from its ids",
    "hybriddna": "its cutting of DNA into 6-mers has no equivalent in tokenizer.json",
    "test": "it is llama.cpp's own test double",
    "none": "the file has no vocabulary",
    "no_vocab": "the file has no vocabulary",
}


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The tokenizer files of a Hugging Face folder, as values.

    ids: ids of special tokens by role (bos, eos, eot, eom, unk, sep, pad, mask, cls), from the keys or by default.
    tokens: the tokens' texts by id, of which there are `size`.
    eos_token_ids: every id that ends an answer, EOS first; for generation_config.json.
    unused_ids: tokens of type UNUSED, which a model should never generate; padding at the end is not in `tokens` at
    all.
    vocabulary: as the file has it, with padding.
    template_reports: reports on the chat templates, by the path of their file.
    notes: what was assumed; warnings: what may differ from the tokenizer that the model was trained with.
    """

    tokenizer_json: Json
    tokenizer_config: Json
    special_tokens_map: Json
    chat_template: str | None
    chat_templates: dict[str, str]
    template_reports: dict[str, TemplateReport]
    ids: dict[str, int]
    eos_token_ids: list[int]
    unused_ids: list[int]
    tokens: list[str]
    vocabulary: Vocabulary
    used_keys: frozenset[str]
    notes: list[str]
    warnings: list[str]

    @property
    def size(self) -> int:
        """The number of tokens; their ids are 0 … size - 1."""
        return len(self.tokens)

    def files(self) -> dict[str, bytes]:
        """Return the files' contents by path in the folder; chat templates are copied byte for byte."""
        out = {
            "tokenizer.json": document_bytes(self.tokenizer_json),
            "tokenizer_config.json": _dump(self.tokenizer_config),
            "special_tokens_map.json": _dump(self.special_tokens_map),
        }
        templates = files_of(self.chat_template, self.chat_templates)
        return {**out, **{path: template.encode() for path, template in templates.items()}}


def build_tokenizer(metadata: Metadata, *, form: Form = "authors") -> TokenizerFiles:
    """Build the tokenizer of a file's vocabulary.

    form: "authors" gives the ids of the tokenizer that the model was trained with, as far as the file and the
    pre-tokenizer's name determine it; "llama.cpp" gives llama.cpp's ids where the two differ, see docs/tokenizers.md.
    Raises MalformedInput and UnsupportedInput, which name the key.
    """
    model = metadata.text(MODEL)
    require_known(model)
    stored = vocabulary = read_vocabulary(metadata)
    pre, warnings = _pretokenizer(metadata, model)
    if vocabulary.empty:
        more = f" and {len(vocabulary.empty) - 1} more" if len(vocabulary.empty) > 1 else ""
        warnings.append(f"token {vocabulary.empty[0]}{more} is empty: called [EMPTY_id], as llama.cpp does")
    special = read_special(
        metadata,
        vocabulary,
        FAMILIES[model],
        add_bos=FAMILIES[model].add_bos or pre.add_bos,
        default_bos=pre.default_bos,
    )
    recipe = _recipe(model, metadata, vocabulary, special, pre, form)
    templates = read_templates(metadata)
    texts_of_chat = files_of(templates.default, templates.named).values()
    delimiters = with_delimiters(vocabulary, texts_of_chat, recipe.model)
    vocabulary = delimiters.vocabulary
    special = replace(special, end_ids=end_ids(vocabulary, special.ids))
    size = first_padding_id(metadata, vocabulary, special, recipe.model)
    padding = len(vocabulary) - size
    tokens = (recipe.tokens or vocabulary.tokens)[:size]
    roles = named_roles(vocabulary, special, recipe.model)
    texts = {f"{role}_token": tokens[special.ids[role]] for role in roles}
    added = added_tokens(metadata, vocabulary, tokens, {special.ids[role] for role in roles})
    return TokenizerFiles(
        tokenizer_json={
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": recipe.normalizer,
            "pre_tokenizer": recipe.pre_tokenizer,
            "post_processor": recipe.post_processor,
            "decoder": recipe.decoder,
            "model": without_padding(recipe.model, size) if padding else recipe.model,
        },
        tokenizer_config=_config(
            metadata, special, texts, recipe, added_in_config(metadata, vocabulary, model, added)
        ),
        special_tokens_map=texts,
        chat_template=templates.default,
        chat_templates=templates.named,
        template_reports=templates.reports,
        ids=special.ids,
        eos_token_ids=special.end_ids,
        tokens=tokens,
        vocabulary=stored,
        used_keys=frozenset(key for key in metadata if key in USED_KEYS or key.startswith(f"{TEMPLATE}.")),
        unused_ids=[i for i, kind in enumerate(vocabulary.types[:size]) if kind == TokenType.UNUSED],
        notes=[*recipe.notes, *([_padding_note(size, padding)] if padding else [])],
        warnings=[*warnings, *special.warnings, *recipe.warnings, *delimiters.warnings, *templates.warnings],
    )


def load_tokenizer(
    files: TokenizerFiles, loaded: Tokenizer | None = None, *, content: bytes | None = None
) -> Tokenizer:
    """Load the tokenizer and check every token's id.

    loaded: the Tokenizer of the same tokenizer.json, if it is already loaded. content: that file's bytes, if at hand.
    Raises MalformedInput if the tokenizers library refuses the vocabulary or gives a token another id.
    """
    from tokenizers import Tokenizer  # slow to import, and most errors are found before it is needed

    def load() -> Tokenizer:
        tokenizer = Tokenizer.from_buffer(content or document_bytes(files.tokenizer_json))
        tokenizer.encode("a")  # some damage shows only when it is used
        return tokenizer

    tokenizer: Tokenizer = loaded or guard(load)
    placed = tokenizer.get_vocab(with_added_tokens=True)
    moved = [index for index, token in enumerate(files.tokens) if placed.get(token) != index]
    if moved or len(placed) != files.size:
        raise MalformedInput(
            f"the tokenizers library puts token {moved[0]} elsewhere, and {len(moved) - 1} more"
            if moved
            else f"the tokenizers library makes {len(placed)} tokens of {files.size}",
            where=f"key '{TOKENS}'",
        )
    return tokenizer


def guard(use: Callable[[], T]) -> T:
    """Return the result of `use`, which calls the tokenizers library; its errors and panics become MalformedInput.

    A panic in the library's Rust code is a BaseException subclass, which `except Exception` lets through.
    """
    try:
        return use()
    except InputError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise MalformedInput(
                f"the tokenizers library refuses the vocabulary: {printable(str(error), 200, quoted=False)}",
                where=f"key '{MODEL}'",
            ) from error
        raise


def require_known(model: str) -> None:
    """Raise UnsupportedInput for a `tokenizer.ggml.model` that is refused or unknown."""
    where = f"key '{MODEL}'"
    if model in REFUSED:
        raise UnsupportedInput(
            f"tokenizer {printable(model)} is not converted: {REFUSED[model]}", where=where
        )
    if model not in FAMILIES:
        raise UnsupportedInput(f"unknown tokenizer {printable(model)}", where=where)


def _pretokenizer(metadata: Metadata, model: str) -> tuple[PreTokenizer, list[str]]:
    """Return the pre-tokenizer and warnings; only the BPE families use more than its defaults."""
    name = metadata.text(PRE, "")
    forced = FORCED_PRETOKENIZERS.get(metadata.text("general.architecture", ""))
    if model != "gpt2":
        row = pretokenizer("gemma4") if model == "gemma4" else NO_SPLITS
        return row, [_forced_class_warning(forced, f"{MODEL} is {model}")] if forced else []
    row = pretokenizer(name or "default")
    if not name:
        return row, [
            f"{PRE} is missing: text is cut by llama.cpp's default, hardly what the model was trained with"
        ]
    if forced and pretokenizer(forced).splits != row.splits:
        return row, [_forced_class_warning(forced, f"{PRE} is {name}")]
    return row, []


def _forced_class_warning(forced: str, what: str) -> str:
    """Return the warning for a model whose tokenizer AutoTokenizer builds by the model's type."""
    return (
        f"transformers cuts this model's text as {forced} whatever tokenizer.json says, and {what}: "
        "load it with tokenizers.Tokenizer.from_file"
    )


def _recipe(
    model: str,
    metadata: Metadata,
    vocabulary: Vocabulary,
    special: SpecialTokens,
    pre: PreTokenizer,
    form: Form,
) -> Recipe:
    if model == "llama":
        return spm(metadata, vocabulary, special)
    if model == "t5":
        return unigram(metadata, vocabulary, special)
    if model == "bert":
        return wordpiece(metadata, vocabulary, special, form)
    return bpe(metadata, vocabulary, special, pre, form)


def _config(
    metadata: Metadata, special: SpecialTokens, texts: dict[str, str], recipe: Recipe, added: list[Json]
) -> Json:
    """Return tokenizer_config.json, with a class that keeps the pipeline of tokenizer.json.

    For some models transformers 5 has a tokenizer class of its own, which rebuilds the pipeline and ignores the file's.
    """
    architecture = metadata.text("general.architecture", "")
    config: Json = {
        "tokenizer_class": ORIGINAL_CLASSES.get(
            (architecture, metadata.text(MODEL)), "PreTrainedTokenizerFast"
        ),
        # Written if the file has the flag or it is true by default; original configs omit flags that are false.
        **({"add_bos_token": special.add_bos} if special.add_bos or ADD_BOS in metadata else {}),
        **({"add_eos_token": special.add_eos} if special.add_eos or ADD_EOS in metadata else {}),
        "clean_up_tokenization_spaces": recipe.clean_up,
        # None for every role that is not named: the class would otherwise add a default token.
        **dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token")),
        **texts,
    }
    if not metadata.flag(ADD_SPACE_PREFIX, True):
        # tokenizer.json says so too, but llama.cpp's converter looks for it here.
        config["add_prefix_space"] = False
    if added:
        config["added_tokens_decoder"] = {
            str(token["id"]): {key: value for key, value in token.items() if key != "id"} for token in added
        }
    context = metadata.integer(f"{architecture}.context_length", None)
    if context is not None:
        config["model_max_length"] = context
    return config


def _padding_note(size: int, padding: int) -> str:
    return f"{padding} tokens from id {size} on only fill up the rows of the embedding: tokenizer.json is without them"


def _dump(value: Json) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()
