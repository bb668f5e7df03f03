"""Headers that are well formed and describe no model that can be."""

from __future__ import annotations

import struct

from tests.corpus.case import Add, Case, group
from tests.models.gguf_writer import (
    F32,
    I32,
    STRING,
    TYPE_F32,
    TYPE_Q8_0,
    U32,
    U64,
    one,
    random_weights,
)
from tests.models.tiny import FEED_FORWARD, VOCABULARY, WIDTH, tiny_llama

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
ARCHITECTURE = "general.architecture"
PREFIX = "llama."


def cases() -> list[Case]:
    """All of them."""
    return group("model", _fill)


def _fill(add: Add) -> None:
    add("no-architecture", f"{ARCHITECTURE} is missing", ARCHITECTURE, tiny_llama().drop(ARCHITECTURE))
    add(
        "architecture-type",
        f"{ARCHITECTURE} is a number",
        f"{ARCHITECTURE} type|string",
        tiny_llama().key(ARCHITECTURE, one(U32, 7)),
    )
    add(
        "architecture-unknown",
        f"{ARCHITECTURE} is nosuch",
        "nosuch",
        tiny_llama().key(ARCHITECTURE, one(STRING, "nosuch")),
    )
    add(
        "architecture-empty",
        f"{ARCHITECTURE} is empty",
        ARCHITECTURE,
        tiny_llama().key(ARCHITECTURE, one(STRING, "")),
    )
    add(
        "architecture-escape",
        f"{ARCHITECTURE} holds terminal escapes",
        "architecture",
        tiny_llama().key(ARCHITECTURE, one(STRING, "x" + ESCAPE)),
    )
    add(
        "architecture-path",
        f"{ARCHITECTURE} is ../../etc",
        "architecture",
        tiny_llama().key(ARCHITECTURE, one(STRING, "../../etc")),
    )
    for k in ("embedding_length", "block_count", "attention.head_count", "attention.layer_norm_rms_epsilon"):
        add(f"no-{k}", f"{PREFIX}{k} is missing", PREFIX + k, tiny_llama().drop(PREFIX + k))
    for k, tv, name, wrong in (
        ("embedding_length", one(STRING, "32"), "string", "a string"),
        ("embedding_length", one(U32, 0), "0", "0"),
        ("embedding_length", one(I32, -32), "negative", "-32"),
        ("embedding_length", one(U32, 64), "64", "64, the tensors say 32"),
        ("block_count", one(U32, 0), "0", "0"),
        ("block_count", one(U32, 1 << 31), "2p31", "2^31"),
        ("block_count", one(U64, 1 << 62), "2p62", "2^62"),
        ("context_length", one(U32, 0), "0", "0"),
        ("attention.head_count", one(U32, 0), "0", "0"),
        ("attention.head_count", one(U32, 5), "5", "5, which does not divide 32"),
        ("attention.head_count_kv", one(U32, 0), "0", "0"),
        ("attention.head_count_kv", one(U32, 3), "3", "3, which does not divide 4"),
        ("attention.head_count_kv", one(U32, 8), "8", "8, more than the heads"),
        ("rope.dimension_count", one(U32, 64), "64", "64, more than the head's 8"),
        ("rope.dimension_count", one(U32, 7), "odd", "odd"),
        ("attention.layer_norm_rms_epsilon", one(F32, float("nan")), "nan", "NaN"),
        ("attention.layer_norm_rms_epsilon", one(F32, -1.0), "negative", "negative"),
        ("rope.freq_base", one(F32, 0.0), "0", "0"),
        ("rope.freq_base", one(F32, float("inf")), "inf", "infinite"),
        ("rope.scaling.type", one(STRING, "bogus"), "bogus", "an unknown method"),
        ("vocab_size", one(U32, VOCABULARY + 100), "more", "more than the tokens"),
    ):
        add(f"{k}-{name}", f"{PREFIX}{k} is {wrong}", PREFIX + k, tiny_llama().key(PREFIX + k, tv))
    add(
        "experts",
        "expert_count 8 but no expert tensors",
        "expert",
        tiny_llama().key(PREFIX + "expert_count", one(U32, 8)).key(PREFIX + "expert_used_count", one(U32, 2)),
    )
    m = tiny_llama().key(PREFIX + "expert_count", one(U32, 2)).key(PREFIX + "expert_used_count", one(U32, 9))
    m.drop("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight", "blk.0.ffn_down.weight").tensor(
        "blk.0.ffn_gate_inp.weight", [WIDTH, 2], TYPE_F32
    )
    for n, s in (
        ("gate", [WIDTH, FEED_FORWARD, 2]),
        ("up", [WIDTH, FEED_FORWARD, 2]),
        ("down", [FEED_FORWARD, WIDTH, 2]),
    ):
        m.tensor(f"blk.0.ffn_{n}_exps.weight", s)
    add("experts-used", "9 experts used of 2", PREFIX + "expert_used_count", m)
    for t in ("token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight", "output_norm.weight"):
        add(f"missing-{t}", f"{t} is missing", t, tiny_llama().drop(t))
    add(
        "unknown-tensor",
        "a tensor that llama does not have",
        "blk.0.nonsense.weight",
        tiny_llama().tensor("blk.0.nonsense.weight", [WIDTH, WIDTH]),
    )
    add(
        "rows",
        "the embedding has a row less than there are tokens",
        "token_embd.weight",
        tiny_llama().tensor("token_embd.weight", [WIDTH, VOCABULARY - 1]),
    )
    add(
        "shape",
        "attn_k has the shape of attn_q",
        "blk.0.attn_k.weight shape|rows|expected",
        tiny_llama().tensor("blk.0.attn_k.weight", [WIDTH, WIDTH]),
    )
    add(
        "transposed",
        "ffn_down is transposed",
        "blk.0.ffn_down.weight shape|rows|expected",
        tiny_llama().tensor("blk.0.ffn_down.weight", [WIDTH, FEED_FORWARD]),
    )
    add(
        "integer",
        "attn_q holds I32",
        "blk.0.attn_q.weight type",
        tiny_llama().tensor("blk.0.attn_q.weight", [WIDTH, WIDTH], 26),
    )
    for name, scale in (("nan", b"\0\x7e"), ("inf", b"\0\x7c"), ("minus-inf", b"\0\xfc")):
        data = bytearray(random_weights("q", TYPE_Q8_0, WIDTH, 34))
        data[34 * 7 : 34 * 7 + 2] = scale
        add(
            f"scale-{name}",
            f"block 7 of attn_q has the scale {name}",
            "blk.0.attn_q.weight nan|inf|finite",
            tiny_llama().change("blk.0.attn_q.weight", data=bytes(data)),
        )
    data = bytearray(random_weights("n", TYPE_F32, WIDTH, 4))
    data[40:44] = struct.pack("<f", float("nan"))
    add(
        "norm-nan",
        "output_norm holds a NaN",
        "output_norm.weight nan|finite",
        tiny_llama().change("output_norm.weight", data=bytes(data)),
    )
