"""Malformed preambles, keys, values and arrays; files cut off in each part."""

from __future__ import annotations

import struct

from tests.corpus.case import Add, Case, group, sparse
from tests.models.gguf_writer import (
    ARRAY,
    BOOL,
    I32,
    STRING,
    U8,
    U32,
    U64,
    array,
    one,
    raw,
    string,
)
from tests.models.tiny import VOCABULARY, tiny_llama

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
ARCHITECTURE = "general.architecture"
TOKEN_TEXTS = "tokenizer.ggml.tokens"
TOKEN_TYPES = "tokenizer.ggml.token_type"
HEAD_COUNT = "llama.attention.head_count"
ALIGNMENT = "general.alignment"
QUERY = "blk.0.attn_q.weight"


def cases() -> list[Case]:
    """All of them."""
    return group("header", _fill)


def _fill(add: Add) -> None:
    m = tiny_llama()
    m.magic = b"GGUX"
    add("magic", "the magic is GGUX", "magic", m)
    m = tiny_llama()
    m.magic = b"lmgg"
    add("magic-legacy", "the magic of pre-GGUF files", "magic", m)
    add("empty", "an empty file", "short|empty|truncat|magic", b"")
    for v in (0, 1, 4, 1 << 31):
        m = tiny_llama()
        m.version = v
        add(f"version-{v}", f"version {v}", f"version {v}", m)
    big = bytearray(tiny_llama().build())
    big[4:8] = big[4:8][::-1]
    big[8:16] = big[8:16][::-1]
    big[16:24] = big[16:24][::-1]
    add("big-endian", "version 3 in big-endian order", "endian", bytes(big))
    m = tiny_llama()
    whole = m.build()
    at = m.marks
    cuts = [
        ("in-magic", 2, "short|truncat|magic"),
        ("magic", at["magic"], ""),
        ("in-version", 6, ""),
        ("version", at["version"], ""),
        ("in-tensor-count", 12, ""),
        ("tensor-count", at["tensor-count"], ""),
        ("key-count", at["key-count"], ""),
        ("key-length", at["key-count"] + 4, ""),
        ("key-text", at[ARCHITECTURE + ":start"] + 12, ""),
        ("key-name", at[ARCHITECTURE + ":name"], ""),
        ("value-type", at[ARCHITECTURE + ":type"], ""),
        ("value-length", at[ARCHITECTURE + ":type"] + 3, ""),
        ("value-text", at[ARCHITECTURE + ":type"] + 10, ""),
        ("array-elem", at[TOKEN_TEXTS + ":type"] + 2, TOKEN_TEXTS),
        ("array-count", at[TOKEN_TEXTS + ":type"] + 8, TOKEN_TEXTS),
        ("array-start", at[TOKEN_TEXTS + ":type"] + 12, TOKEN_TEXTS),
        ("array-length", at[TOKEN_TEXTS + ":type"] + 12 + 9 * 5 + 3, TOKEN_TEXTS),
        ("array-text", at[TOKEN_TEXTS + ":end"] - 3, TOKEN_TEXTS),
        ("array-numbers", at[TOKEN_TYPES + ":end"] - 6, TOKEN_TYPES),
        ("keys-end", at["token_embd.weight:start"], ""),
        ("tensor-name", at[QUERY + ":start"] + 14, ""),
        ("tensor-dims", at[QUERY + ":name"] + 2, QUERY),
        ("tensor-shape", at[QUERY + ":dims"] + 11, QUERY),
        ("tensor-type", at[QUERY + ":shape"] + 1, QUERY),
        ("tensor-offset", at[QUERY + ":type"] + 5, QUERY),
        ("table-end", at["output.weight:end"], ""),
        ("data-start", at["data"], ""),
        ("data-first", at["data"] + 100, "token_embd.weight"),
        ("data-last", len(whole) - 33, "output.weight"),
    ]
    for name, cut, word in cuts:
        add(
            f"cut-{name}",
            f"cut off at byte {cut} of {len(whole)} ({name})",
            f"truncat|short|end|beyond|left|hold {word}",
            whole[:cut],
        )
    for name, n in (("2p63", 1 << 63), ("2p64-1", (1 << 64) - 1), ("2p40", 1 << 40)):
        m = tiny_llama()
        m.n_keys = n
        add(f"keys-{name}", f"{n} keys", f"key|metadata {n}|count", m)
        m = tiny_llama()
        m.n_tensors = n
        add(f"tensors-{name}", f"{n} tensors", f"tensor {n}|count", m)
    for name, n in (("2p63", 1 << 63), ("2p64-1", (1 << 64) - 1), ("beyond", 1 << 20)):
        m = tiny_llama()
        m.key("general.name", raw(STRING, string("tiny", n)))
        add(f"string-{name}", f"general.name has the length {n}", "general.name length|bytes|truncat", m)
        longer = bytearray(tiny_llama().build())
        longer[24:32] = struct.pack("<Q", n)
        add(
            f"key-length-{name}",
            f"the first key has the length {n}",
            "key length|bytes|truncat",
            bytes(longer),
        )
    nest = struct.pack("<IQ", ARRAY, 1)
    add(
        "array-nested",
        "an array of arrays",
        f"{HEAD_COUNT} array|nest",
        tiny_llama().key(HEAD_COUNT, raw(ARRAY, nest + struct.pack("<IQI", U32, 1, 4))),
    )
    add(
        "array-deep",
        "arrays nested 2000 deep",
        f"{HEAD_COUNT} array|nest",
        tiny_llama().key(HEAD_COUNT, raw(ARRAY, nest * 2000 + struct.pack("<IQI", U32, 1, 4))),
    )
    for name, elem, n in (
        ("wrap-u64", U64, 1 << 61),
        ("wrap-str", STRING, 1 << 61),
        ("2p63-u8", U8, 1 << 63),
        ("2p40-u8", U8, 1 << 40),
        ("2p30-str", STRING, 1 << 30),
        ("one-more", I32, VOCABULARY + (1 << 20)),
    ):
        add(
            f"array-{name}",
            f"an array of {n} elements in a small file",
            f"{TOKEN_TEXTS} {n}|count|truncat|beyond|length",
            tiny_llama().key(TOKEN_TEXTS, array(elem, [], n)),
        )
    add("type-13", "value type 13", f"{HEAD_COUNT} type", tiny_llama().key(HEAD_COUNT, raw(13, b"\4\0\0\0")))
    add(
        "type-max",
        "value type 2^32-1",
        f"{HEAD_COUNT} type",
        tiny_llama().key(HEAD_COUNT, raw(0xFFFFFFFF, b"\4\0\0\0")),
    )
    add(
        "elem-13",
        "an array of value type 13",
        f"{HEAD_COUNT} type",
        tiny_llama().key(HEAD_COUNT, raw(ARRAY, struct.pack("<IQ", 13, 1) + b"\4\0\0\0")),
    )
    add(
        "bool-2",
        "a bool that is 2",
        "tokenizer.ggml.add_bos_token bool",
        tiny_llama().key("tokenizer.ggml.add_bos_token", one(BOOL, 2)),
    )
    add(
        "bool-array",
        "a bool of an array that is 255",
        "x.flags bool",
        tiny_llama().key("x.flags", array(BOOL, [0, 1, 255, 1])),
    )
    add(
        "key-duplicate",
        "llama.block_count twice",
        "duplicat|twice|repeat llama.block_count",
        tiny_llama().key("llama.block_count", one(U32, 9), at=20),
    )
    add("key-empty", "a key without a name", "key empty|name", tiny_llama().key("", one(U32, 1)))
    add(
        "key-utf8",
        "a key that is not UTF-8",
        "key utf-8|utf8|decode",
        tiny_llama().key(b"x.\xff\xfe", one(U32, 1)),
    )
    add(
        "key-newline",
        "a key with a newline",
        "key printable|control|character",
        tiny_llama().key("x.a\nforged: line", one(U32, 1)),
    )
    add(
        "key-escape",
        "a key with terminal escapes",
        "key printable|control|character",
        tiny_llama().key("x." + ESCAPE, one(U32, 1)),
    )
    add(
        "key-nul",
        "a key with a NUL",
        "key printable|control|character",
        tiny_llama().key("llama.block_count\0x", one(U32, 1)),
    )
    add(
        "value-utf8",
        "general.architecture is not UTF-8",
        "general.architecture utf-8|utf8|decode",
        tiny_llama().key("general.architecture", one(STRING, b"ll\xffma")),
    )
    for name, tv in (
        ("0", one(U32, 0)),
        ("3", one(U32, 3)),
        ("2p31", one(U32, 1 << 31)),
        ("2p32", one(U64, 1 << 32)),
        ("string", one(STRING, "32")),
    ):
        add(f"alignment-{name}", f"{ALIGNMENT} is {name}", f"{ALIGNMENT}", tiny_llama().key(ALIGNMENT, tv))
    head = tiny_llama().key("x.big", raw(ARRAY, struct.pack("<IQ", U8, 1 << 30)))
    head.tensors = []
    head.n_tensors = 1
    add(
        "huge-array",
        "a sparse header of 1 GiB",
        "x.big limit|large|big",
        sparse(head.build(), (1 << 30) + (1 << 20)),
    )
    head = tiny_llama().key(TOKEN_TEXTS, raw(ARRAY, struct.pack("<IQ", STRING, 100_000_000)))
    head.keys = head.keys[:17]
    head.tensors = []
    add(
        "huge-strings",
        "100 million empty tokens in a sparse file",
        f"{TOKEN_TEXTS} limit|large|count|many",
        sparse(head.build()[: head.marks[TOKEN_TEXTS + ":end"]], 900_000_000),
    )
    head = tiny_llama()
    head.keys = [*head.keys[:1], (b"general.name", raw(STRING, struct.pack("<Q", 1 << 30)))]
    add(
        "huge-string",
        "a sparse general.name of 1 GiB",
        "general.name limit|long|large|length",
        sparse(head.build()[: head.marks["general.name:end"]], (1 << 30) + (1 << 20)),
    )
