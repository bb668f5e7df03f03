"""Files that must load: they catch a reader that refuses too much."""

from __future__ import annotations

from tests.corpus.case import Add, Case, group
from tests.corpus.split import named, split_parts
from tests.models.gguf_writer import (
    BOOL,
    F64,
    I64,
    STRING,
    U32,
    array,
    one,
)
from tests.models.tiny import tiny_llama


def cases() -> list[Case]:
    """All of them."""
    return group("control", _fill)


def _fill(add: Add) -> None:
    add("base", "the base model", "", tiny_llama())
    m = tiny_llama()
    m.version = 2
    add("v2", "version 2", "", m)
    m = tiny_llama().key("general.alignment", one(U32, 64))
    m.align = 64
    add("align", "alignment 64", "", m)
    add(
        "keys",
        "unknown keys of every type, an empty array, a description of 20 kB",
        "",
        tiny_llama()
        .key("x.empty", array(STRING, []))
        .key("x.f64", array(F64, [1.5]))
        .key("x.i64", one(I64, -1))
        .key("x.flags", array(BOOL, [1, 0]))
        .key("general.description", one(STRING, "é" * 10000)),
    )
    add(
        "blanks",
        "long and empty strings in an array",
        "",
        tiny_llama().key("x.tags", array(STRING, ["", "a" * 300, "", "\0" * 9, "b" * 255, "c" * 256])),
    )
    m = tiny_llama().drop("output.weight")
    add("tied", "no output.weight: tied", "", m)
    add("split", "two parts", "", named(split_parts()))
