"""Vocabularies, special ids and templates that cannot be."""

from __future__ import annotations

from tests.corpus.case import Add, Case, group
from tests.models.gguf_writer import (
    F32,
    I32,
    STRING,
    U32,
    array,
    one,
)
from tests.models.tiny import MERGES, TOKENS, VOCABULARY, tiny_llama

PREFIX = "tokenizer.ggml."


def cases() -> list[Case]:
    """All of them."""
    return group("vocabulary", _fill)


def _fill(add: Add) -> None:
    for k, tv, name, wrong, words in (
        ("token_type", array(I32, [1] * (VOCABULARY - 1)), "short", "one short", ""),
        ("token_type", array(I32, [1] * (VOCABULARY + 1)), "long", "one too long", ""),
        ("token_type", array(I32, [1] * (VOCABULARY - 1) + [99]), "99", "99 for a token", ""),
        ("token_type", array(STRING, ["1"] * VOCABULARY), "strings", "an array of strings", ""),
        ("scores", array(F32, [0.0] * (VOCABULARY - 7)), "short", "seven short", ""),
        ("tokens", array(U32, list(range(VOCABULARY))), "numbers", "an array of numbers", ""),
        ("tokens", one(STRING, "abc"), "string", "one string", ""),
        ("tokens", array(STRING, []), "empty", "empty", ""),
        (
            "tokens",
            array(STRING, [*TOKENS[:100], b"\xc3(", *TOKENS[101:]]),
            "utf8",
            "not UTF-8 at token 100",
            "utf-8|utf8|decode",
        ),
        (
            "tokens",
            array(STRING, [*TOKENS[:100], TOKENS[5], *TOKENS[101:]]),
            "duplicate",
            "holding token 5 again at 100",
            "duplicat|twice|repeat|same",
        ),
        ("bos_token_id", one(U32, VOCABULARY), "range", "one past the last token", ""),
        ("eos_token_id", one(U32, 0xFFFFFFFF), "max", "2^32-1", ""),
        ("eos_token_id", one(I32, -1), "negative", "-1", ""),
        ("bos_token_id", one(STRING, "<|bos|>"), "string", "a string", ""),
        (
            "merges",
            array(STRING, [*MERGES, "qq zz"]),
            "absent",
            "naming tokens that do not exist",
            "qq|absent|unknown|not",
        ),
        (
            "merges",
            array(STRING, [*MERGES, "h l"]),
            "result",
            "making a token that does not exist",
            "h|absent|unknown|not",
        ),
        ("merges", array(STRING, [*MERGES, "hello"]), "blank", "without a blank", ""),
        ("merges", array(I32, [1, 2]), "numbers", "an array of numbers", ""),
        ("merges", array(STRING, [b"\xff \xfe"]), "utf8", "not UTF-8", ""),
        ("model", one(STRING, "nosuch"), "unknown", "an unknown tokenizer", "nosuch"),
        ("model", one(U32, 1), "number", "a number", ""),
        ("pre", one(STRING, "nosuch-pre"), "unknown", "an unknown pre-tokenizer", "nosuch-pre"),
    ):
        add(
            f"{k}-{name}",
            f"{PREFIX}{k} is {wrong}",
            f"{PREFIX}{k} {words}".strip() if not words.startswith("nosuch") else words,
            tiny_llama().key(PREFIX + k, tv),
        )
    for k in ("model", "tokens", "merges"):
        add(f"no-{k}", f"{PREFIX}{k} is missing", PREFIX + k, tiny_llama().drop(PREFIX + k))
    add(
        "template-utf8",
        "the chat template is not UTF-8",
        "tokenizer.chat_template",
        tiny_llama().key("tokenizer.chat_template", one(STRING, b"{{ '\xff' }}")),
    )
    add(
        "template-type",
        "the chat template is a number",
        "tokenizer.chat_template",
        tiny_llama().key("tokenizer.chat_template", one(U32, 1)),
    )
