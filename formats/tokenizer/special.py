"""Special tokens: which id is BOS, EOS and so on, by key or by llama.cpp's default, and which ids end an answer.

Source: llama.cpp, src/llama-vocab.cpp, `llama_vocab::impl::load`.
"""

from __future__ import annotations

from dataclasses import dataclass

from llorch.base.errors import MalformedInput
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.tokenizer.merges import Merges
from llorch.formats.tokenizer.vocabulary import TOKENS, Json, TokenType, Vocabulary

ID_KEYS = {
    "bos": "tokenizer.ggml.bos_token_id",
    "eos": "tokenizer.ggml.eos_token_id",
    "eot": "tokenizer.ggml.eot_token_id",
    "eom": "tokenizer.ggml.eom_token_id",
    "unk": "tokenizer.ggml.unknown_token_id",
    "sep": "tokenizer.ggml.seperator_token_id",  # the format's spelling
    "pad": "tokenizer.ggml.padding_token_id",
    "mask": "tokenizer.ggml.mask_token_id",
    "cls": "tokenizer.ggml.cls_token_id",
}
FIM_KEYS = tuple(
    [f"tokenizer.ggml.fim_{part}_token_id" for part in ("pre", "suf", "mid", "pad", "rep", "sep")]
    + [f"tokenizer.ggml.{part}_token_id" for part in ("prefix", "suffix", "middle")]
)
NO_ID = (-1, 0xFFFFFFFF)  # llama.cpp's LLAMA_TOKEN_NULL, as i32 and as u32
# Roles for which an id outside the vocabulary is an error. For other roles it is ignored, with a warning.
REQUIRED_ROLES = ("bos", "eos", "eot", "eom", "unk")
ADD_BOS, ADD_EOS = "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"

# Tokens with these texts end an answer, whatever the keys say.
END_TEXTS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]",
    "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<|ifm|im_end|>", "<｜end▁of▁sentence｜>", "[e~[",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SpecialDefaults:
    """Defaults of one `tokenizer.ggml.model`: ids for missing keys, flags for missing flags.

    only_if_control: a default id applies only if it is a control token's or a flag demands it: 11 is Falcon's
    `<|endoftext|>`, but an ordinary word in other vocabularies.
    flags: whether add_bos_token and add_eos_token are read.
    """

    ids: dict[str, int]
    add_bos: bool = False
    add_eos: bool = False
    only_if_control: bool = False
    flags: bool = True


FAMILIES = {
    "llama": SpecialDefaults({"bos": 1, "eos": 2, "unk": 0}, add_bos=True),
    "gpt2": SpecialDefaults({"bos": 11, "eos": 11}, only_if_control=True),
    "gemma4": SpecialDefaults({}, add_bos=True),
    "t5": SpecialDefaults({"eos": 1, "unk": 2, "pad": 0}, add_eos=True),
    "bert": SpecialDefaults({"cls": 101, "unk": 100, "sep": 102, "pad": 0, "mask": 103}, flags=False),
}


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids by role, from the keys or by default. end_ids: every id that ends an answer, EOS first."""

    ids: dict[str, int]
    add_bos: bool
    add_eos: bool
    end_ids: list[int]
    warnings: list[str]


def read_special(
    metadata: Metadata,
    vocabulary: Vocabulary,
    family: SpecialDefaults,
    *,
    add_bos: bool,
    default_bos: bool = True,
) -> SpecialTokens:
    """Read the special tokens of a file. add_bos: the default if the flag is missing.

    Raises MalformedInput for an id of a NEEDED role that is outside the vocabulary; for other roles it is left out with
    a warning. A default id outside the vocabulary is ignored.
    """
    size = len(vocabulary)
    for role in REQUIRED_ROLES:
        _require_token(metadata, role, size)
    ids = {role: index for role, key in ID_KEYS.items() if (index := stored_id(metadata, key)) is not None}
    wanted = {
        "bos": metadata.flag(ADD_BOS, add_bos) and family.flags,
        "eos": metadata.flag(ADD_EOS, family.add_eos) and family.flags,
    }
    warnings = [bad for key in (*ID_KEYS.values(), *FIM_KEYS) if (bad := _bad_id(metadata, key, size))]
    for role, default in family.ids.items():
        if role in ids or default >= size or (role == "bos" and not default_bos):
            continue
        control = vocabulary.types[default] == TokenType.CONTROL
        if family.only_if_control and not control:
            if not wanted[role]:
                continue
            warnings.append(
                f"{role.upper()} is to be added and {ID_KEYS[role]} is missing: it is llama.cpp's {default}"
            )
        ids[role] = default
    for role in wanted:
        if wanted[role] and role not in ids:
            warnings.append(f"{role.upper()} is to be added, but there is no {ID_KEYS[role]}")
            wanted[role] = False
    return SpecialTokens(ids, wanted["bos"], wanted["eos"], end_ids(vocabulary, ids), warnings)


def end_ids(vocabulary: Vocabulary, ids: dict[str, int]) -> list[int]:
    """Return EOS, EOT and EOM, then special tokens whose text is known to end an answer, by id.

    An ordinary token with such a text (`</s>` in many vocabularies) is not included: llama.cpp stops there, the
    original model does not.
    """
    special = (TokenType.CONTROL, TokenType.USER_DEFINED)
    found = {
        text: index
        for text in END_TEXTS
        if (index := vocabulary.ids.get(text)) is not None and vocabulary.types[index] in special
    }
    # In gpt-oss and similar models <|end|> ends a message, not the answer.
    if not found.keys().isdisjoint(("<|return|>", "<|flush|>")) and not found.keys().isdisjoint(
        ("<|call|>", "<|calls|>")
    ):
        found.pop("<|end|>", None)
    if "<|tool_response>" in found:
        found.pop("</s>", None)
    ends = [ids[role] for role in ("eos", "eot", "eom") if role in ids]
    return list(dict.fromkeys(ends + sorted(found.values())))


def post_processor(special: SpecialTokens, tokens: list[str]) -> Json | None:
    """Return a TemplateProcessing that adds BOS and EOS as the flags say; None if neither is added.

    It names only tokens that it also defines: the library panics on a name that is not defined.
    """
    bos = [special.ids["bos"]] if special.add_bos else []
    eos = [special.ids["eos"]] if special.add_eos else []
    if not bos and not eos:
        return None
    return template(tokens, [*bos, "A", *eos], [*bos, "A", *eos, *bos, "B", *eos])


def named_roles(vocabulary: Vocabulary, special: SpecialTokens, model: Json) -> list[str]:
    """Return the roles that tokenizer_config.json names; the library treats the texts of these tokens as special.

    An ordinary word is not named even if a key points at it: a token that the file types as normal and that is one
    character or is made by a merge. If the file has no types, all ids that keys point at are special.
    """
    merges: Merges | None = model.get("merges")
    roles = []
    for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"):
        index = special.ids.get(role)
        if index is None:
            continue
        ordinary = vocabulary.types[index] == TokenType.NORMAL and (
            len(vocabulary.tokens[index]) == 1 or (merges is not None and merges.makes(index))
        )
        if not ordinary or not vocabulary.typed:
            roles.append(role)
    return roles


def added_tokens(
    metadata: Metadata, vocabulary: Vocabulary, tokens: list[str], named: set[int]
) -> list[Json]:
    """Return tokenizer.json's added tokens, which are matched first: control, unknown, user-defined and `named` ones.

    tokens: the texts to write. Never `normalized`: their texts are matched in the raw text.
    """
    kinds = {TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED}
    name = metadata.text("general.name", "").lower()
    phi3 = "phi-3" in name or "phi3" in name
    left = _strip_left(metadata, name)
    return [
        {
            "id": index,
            "content": tokens[index],
            "single_word": False,
            "lstrip": tokens[index] in left,
            "rstrip": phi3 and tokens[index] not in ("<unk>", "<s>", "<|endoftext|>"),
            "normalized": False,
            "special": kind != TokenType.USER_DEFINED,
        }
        for index, kind in enumerate(vocabulary.types)
        if kind in kinds or index in named
    ]


def _strip_left(metadata: Metadata, name: str) -> set[str]:
    """Return the mask tokens that absorb blanks before them; no key says so, it depends on the model."""
    left = set()
    pre, architecture = metadata.text("tokenizer.ggml.pre", ""), metadata.text("general.architecture", "")
    if any(part in pre for part in ("jina-v2-de", "jina-v2-es", "jina-v2-code")) or any(
        part in architecture for part in ("nomic-bert-moe", "jina-bert-v3")
    ):
        left.add("<mask>")
    if "modern-bert" in name:
        left.add("[MASK]")
    return left


def template(tokens: list[str], single: list[int | str], pair: list[int | str]) -> Json:
    """Return a TemplateProcessing of ids and the sequences A and B; from B on, the type id is 1."""

    def pieces(parts: list[int | str]) -> list[Json]:
        segment, out = 0, []
        for part in parts:
            if part == "B":
                segment = 1
            if isinstance(part, str):
                out.append({"Sequence": {"id": part, "type_id": segment}})
            else:
                out.append({"SpecialToken": {"id": tokens[part], "type_id": segment}})
        return out

    named = {tokens[part]: part for part in pair if isinstance(part, int)}
    return {
        "type": "TemplateProcessing",
        "single": pieces(single),
        "pair": pieces(pair),
        "special_tokens": {
            text: {"id": text, "ids": [index], "tokens": [text]} for text, index in named.items()
        },
    }


def stored_id(metadata: Metadata, key: str) -> int | None:
    """Return the token id under a key; None if it is missing, -1 (signed or unsigned) or outside the vocabulary.

    Source: llama.cpp, src/llama-vocab.cpp, `bad special token`: an id outside the vocabulary is treated as absent.
    """
    index, tokens = metadata.integer(key, None), metadata.texts(TOKENS, None)
    if index is None or index < 0 or index in NO_ID or (tokens is not None and index >= len(tokens)):
        return None
    return index


def _require_token(metadata: Metadata, role: str, size: int) -> None:
    """Raise MalformedInput unless the id is a token's, missing, or -1; EOS must not be -1."""
    key = ID_KEYS[role]
    index = metadata.integer(key, None)
    if index is None or 0 <= index < size or (index in NO_ID and role != "eos"):
        return
    raise MalformedInput(f"is {index}, but the vocabulary has {size} tokens", where=f"key '{key}'")


def _bad_id(metadata: Metadata, key: str, size: int) -> str | None:
    """Return the warning for a key whose id is outside the vocabulary and not -1; else None."""
    index = metadata.integer(key, None)
    if index is None or index in NO_ID or 0 <= index < size:
        return None
    return f"key '{key}' is {index}, and the vocabulary has {size} tokens: it is left out, as llama.cpp does"
