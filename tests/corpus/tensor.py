"""Malformed rows of the tensor table."""

from __future__ import annotations

from tests.corpus.case import Add, Case, group
from tests.models.gguf_writer import (
    TYPE_F32,
)
from tests.models.tiny import VOCABULARY, WIDTH, tiny_llama

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
QUERY = "blk.0.attn_q.weight"


def cases() -> list[Case]:
    """All of them."""
    return group("tensor", _fill)


def _fill(add: Add) -> None:
    m = tiny_llama()
    m.tensors.append(m.tensors[1].copy())
    add("duplicate", f"{QUERY} twice", f"duplicat|twice|repeat {QUERY}", m)
    for n in (0, 5, 0xFFFFFFFF):
        add(f"dims-{n}", f"{n} dimensions", f"{QUERY} dimension", tiny_llama().change(QUERY, n_dims=n))
    add("dim-zero", "a dimension of 0", f"{QUERY} dimension|shape", tiny_llama().tensor(QUERY, [WIDTH, 0]))
    add(
        "dim-negative",
        "a dimension of -1",
        f"{QUERY} dimension|shape",
        tiny_llama().tensor(QUERY, [WIDTH, -1]),
    )
    add(
        "dim-min",
        "a dimension of -2^63",
        f"{QUERY} dimension|shape",
        tiny_llama().tensor(QUERY, [WIDTH, -1 << 63]),
    )
    add(
        "product",
        "2^31 x 2^31 x 2^31 elements",
        f"{QUERY} overflow|large|shape|beyond",
        tiny_llama().tensor(QUERY, [1 << 31] * 3, data=b"\0" * 1088),
    )
    add(
        "product-wrap",
        "a product that wraps to 32 modulo 2^64",
        f"{QUERY} overflow|large|shape|beyond",
        tiny_llama().tensor(QUERY, [32, (1 << 59) + 1, 1], data=b"\0" * 1088),
    )
    add(
        "bytes-wrap",
        "F32 of 4 x (2^30-1) x (2^30+1): its padded size wraps",
        f"{QUERY} overflow|large|shape|beyond|end",
        tiny_llama().tensor(QUERY, [4, (1 << 30) - 1, (1 << 30) + 1], TYPE_F32, data=b"\0" * 1088),
    )
    for t in (99, 43, 0xFFFFFFFF):
        add(f"type-{t}", f"the ggml type {t}", f"{QUERY} type", tiny_llama().change(QUERY, type=t))
    for t, removed in ((4, "Q4_2"), (31, "Q4_0_4_4"), (37, "IQ4_NL_4_8")):
        add(
            f"type-removed-{t}",
            f"the removed type {t} ({removed})",
            f"{QUERY} type",
            tiny_llama().change(QUERY, type=t),
        )
    add(
        "block",
        "rows of 33 elements in Q8_0",
        f"{QUERY} block|multiple",
        tiny_llama().tensor(QUERY, [33, WIDTH], data=bytes(1122)),
    )
    add(
        "block-k",
        "rows of 32 elements in Q4_K",
        f"{QUERY} block|multiple",
        tiny_llama().change(QUERY, type=12),
    )
    off = -(-(VOCABULARY * 34) // 32) * 32
    add(
        "misaligned",
        "an offset that is no multiple of 32",
        f"{QUERY} align",
        tiny_llama().change(QUERY, offset=off + 8),
    )
    add(
        "overlap",
        "it begins inside the tensor before",
        f"{QUERY} overlap|offset",
        tiny_llama().change(QUERY, offset=off - 64),
    )
    add(
        "same-offset",
        "two tensors at offset 0",
        f"{QUERY} overlap|offset",
        tiny_llama().change(QUERY, offset=0),
    )
    add(
        "beyond",
        "an offset beyond the end of the file",
        f"{QUERY} beyond|end|outside",
        tiny_llama().change(QUERY, offset=1 << 30),
    )
    add(
        "offset-wrap",
        "an offset of 2^64-32",
        f"{QUERY} beyond|end|outside|offset",
        tiny_llama().change(QUERY, offset=-32),
    )
    add(
        "last-beyond",
        "the last tensor's rows pass the end",
        "output.weight beyond|end|outside|truncat",
        tiny_llama().tensor("output.weight", [WIDTH, 4 * VOCABULARY], data=bytes(64)),
    )
    for name, raw, words in (
        ("nul", b"blk.0.attn_q\0.weight", "name|tensor printable|control|character|unknown|unexpected"),
        (
            "newline",
            b"blk.0\nerror: forged.weight",
            "name|tensor printable|control|character|unknown|unexpected",
        ),
        ("escape", ESCAPE.encode(), "name|tensor printable|control|character|unknown|unexpected"),
        ("utf8", b"blk.0.\xc3\x28.weight", "name|tensor utf-8|utf8|decode"),
        ("empty", b"", "tensor empty|name"),
        ("dotdot", b"../../../../tmp/escaped", "../../../../tmp/escaped"),
        ("64", b"x" * 64, "name|tensor 64|long|63"),
        ("4096", b"x" * 4096, "name|tensor 4096|long|63"),
    ):
        add(f"name-{name}", f"a tensor's name: {name}", words, tiny_llama().tensor(raw, [WIDTH], TYPE_F32))
    m = tiny_llama()
    m.tensors[1].name_length = 1 << 62
    add("name-length", "the name of tensor 1 has the length 2^62", "name|tensor length|long|bytes", m)
