"""Split sets whose parts do not fit together."""

from __future__ import annotations

from collections.abc import Sequence

from tests.corpus.case import Add, Case, group
from tests.models.gguf_writer import (
    I32,
    STRING,
    U16,
    Model,
    one,
)
from tests.models.tiny import tiny_llama


def cases() -> list[Case]:
    """All of them."""
    return group("split", _fill)


def _fill(add: Add) -> None:
    p = split_parts()
    p[1].key("split.count", one(U16, 3))
    add("count", "the parts disagree on split.count", "split.count", named(p))
    p = split_parts()
    p[0].key("split.count", one(U16, 5))
    add("count-first", "split.count is 5, the files' names say 2", "split.count|part|00003", named(p))
    p = split_parts()
    p[1].key("split.no", one(U16, 0))
    add("no", "both parts are number 0", "split.no", named(p))
    p = split_parts(3)
    add("missing", "part 2 of 3 is missing", "00002-of-00003", named([p[0], None, p[2]]))
    p = split_parts()
    p[1].tensors.append(p[0].tensors[1].copy())
    p[0].key("split.tensors.count", one(I32, 13))
    p[1].key("split.tensors.count", one(I32, 13))
    add("duplicate", "a tensor is in both parts", "blk.0.attn_q.weight", named(p))
    p = split_parts()
    p[0].key("split.tensors.count", one(I32, 99))
    add("tensors", "split.tensors.count is 99", "split.tensors.count", named(p))
    p = split_parts()
    p[1].key("general.architecture", one(STRING, "qwen2"))
    add("other-model", "part 2 says another architecture", "general.architecture|00002", named(p))
    p = split_parts()
    del p[1].tensors[0]
    add("lost", "a tensor is in no part", "split.tensors.count|tensor", named(p))
    files = named(split_parts())
    files["m-00002-of-00002.gguf"] = b"GGUF\3\0\0\0"
    add("stub", "part 2 is cut off after the version", "00002-of-00002", files)
    files = named(split_parts())
    files["m-00002-of-00002.gguf"] = b"<html>404</html>"
    add("html", "part 2 is a web page", "00002-of-00002 magic", files)


def split_parts(n: int = 2) -> list[Model]:
    """The good model in n parts, as llama-gguf-split writes it: all keys in the first part."""
    whole = tiny_llama()
    parts = [whole] + [Model() for _ in range(n - 1)]
    tensors, each = whole.tensors, -(-len(whole.tensors) // n)
    for i, p in enumerate(parts):
        p.tensors = tensors[i * each : (i + 1) * each]
        p.key("split.no", one(U16, i)).key("split.count", one(U16, n))
        p.key("split.tensors.count", one(I32, len(tensors)))
    return parts


def named(parts: Sequence[Model | None], n: int | None = None) -> dict[str, bytes]:
    return {f"m-{i + 1:05}-of-{n or len(parts):05}.gguf": p.build() for i, p in enumerate(parts) if p}
