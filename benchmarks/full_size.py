"""Writes GGUF files of the size of published models, with random weights, without any other tool.

Shapes are those of the published config.json; types are those that llama-quantize uses for Q4_K_M
(src/llama-quant.cpp, `llama_tensor_get_type_impl`): rows that aren't a multiple of 256 fall back to another type.
"""

from __future__ import annotations

import math
import os
import random
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from llorch.formats.quants import QuantType, by_name

U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5
ALIGNMENT = 32
NORMAL, CONTROL, UNUSED = 1, 3, 5  # of `enum llama_token_type`
SPECIAL = 22  # tokens; as many as Qwen2.5 has
BLOCKS_AT_ONCE = 1 << 14

Value = str | int | float | list[str] | list[int]
Tensors = list[tuple[str, tuple[int, ...], str]]


@dataclass(frozen=True)
class Shape:
    """A model's shape: its keys (without the architecture's prefix) and tensors (name, shape in NumPy order, type).

    vocabulary, merges: numbers of tokens and merges. Qwen2.5's are its real ones; Phi-3's real tokenizer is of another
    kind, here replaced by one of the same size.
    """

    architecture: str
    vocabulary: int
    merges: int
    keys: Mapping[str, Value]
    tensors: tuple[tuple[str, tuple[int, ...], str], ...]


def uses_more_bits(layer: int, layers: int) -> bool:
    """Return whether Q4_K_M gives a layer more bits. Source: llama.cpp, src/llama-quant.cpp, `use_more_bits`."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def qwen2_5_0_5b() -> Shape:
    """Qwen2.5-0.5B: rows of 896 weights, so most types are those with blocks of 32 weights."""
    layers, hidden, kv, ff, vocabulary = 24, 896, 128, 4864, 151936
    tensors: list[tuple[str, tuple[int, ...], str]] = [("token_embd.weight", (vocabulary, hidden), "Q8_0")]
    for i in range(layers):
        more = uses_more_bits(i, layers)
        tensors += [
            (f"blk.{i}.{name}", shape, quant)
            for name, shape, quant in (
                ("attn_norm.weight", (hidden,), "F32"),
                ("ffn_down.weight", (hidden, ff), "Q6_K" if more else "Q4_K"),
                ("ffn_gate.weight", (ff, hidden), "Q5_0"),
                ("ffn_up.weight", (ff, hidden), "Q5_0"),
                ("ffn_norm.weight", (hidden,), "F32"),
                ("attn_k.bias", (kv,), "F32"),
                ("attn_k.weight", (kv, hidden), "Q5_0"),
                ("attn_output.weight", (hidden, hidden), "Q5_0"),
                ("attn_q.bias", (hidden,), "F32"),
                ("attn_q.weight", (hidden, hidden), "Q5_0"),
                ("attn_v.bias", (kv,), "F32"),
                ("attn_v.weight", (kv, hidden), "Q8_0" if more else "Q5_0"),
            )
        ]
    tensors.append(("output_norm.weight", (hidden,), "F32"))
    keys = {
        "block_count": layers,
        "context_length": 32768,
        "embedding_length": hidden,
        "feed_forward_length": ff,
        "attention.head_count": 14,
        "attention.head_count_kv": 2,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 1e6,
    }
    return Shape("qwen2", vocabulary, 151387, keys, tuple(tensors))


def phi_3_mini() -> Shape:
    """Phi-3-mini-4k: 3.8 billion weights."""
    layers, hidden, ff, vocabulary = 32, 3072, 8192, 32064
    tensors: list[tuple[str, tuple[int, ...], str]] = [("token_embd.weight", (vocabulary, hidden), "Q4_K")]
    for i in range(layers):
        tensors += [
            (f"blk.{i}.{name}", shape, quant)
            for name, shape, quant in (
                ("attn_norm.weight", (hidden,), "F32"),
                ("ffn_down.weight", (hidden, ff), "Q6_K" if uses_more_bits(i, layers) else "Q4_K"),
                ("ffn_up.weight", (2 * ff, hidden), "Q4_K"),
                ("ffn_norm.weight", (hidden,), "F32"),
                ("attn_output.weight", (hidden, hidden), "Q4_K"),
                ("attn_qkv.weight", (3 * hidden, hidden), "Q5_K"),
            )
        ]
    tensors += [("output_norm.weight", (hidden,), "F32"), ("output.weight", (vocabulary, hidden), "Q6_K")]
    keys = {
        "block_count": layers,
        "context_length": 4096,
        "embedding_length": hidden,
        "feed_forward_length": ff,
        "attention.head_count": 32,
        "attention.head_count_kv": 32,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "attention.sliding_window": 2047,
        "rope.dimension_count": 96,
        "rope.freq_base": 1e4,
        "rope.scaling.original_context_length": 4096,
    }
    return Shape("phi3", vocabulary, vocabulary - 256 - SPECIAL, keys, tuple(tensors))


def of_layer(layer: int, *tensors: tuple[str, tuple[int, ...], str]) -> Tensors:
    """Return the tensors of a layer, given without the prefix of their names."""
    return [(f"blk.{layer}.{name}", shape, quant) for name, shape, quant in tensors]


SHAPES = {"qwen2.5-0.5b": qwen2_5_0_5b, "phi-3-mini": phi_3_mini}


def write_model(shape: Shape, path: Path, *, weights: bool = True, hole_above: int | None = None) -> None:
    """Write a file; the same bytes for the same shape.

    weights: False leaves a hole in their place. hole_above: leave a hole in the place of tensors with more weights.
    """
    values: dict[str, Value] = {
        "general.architecture": shape.architecture,
        **{f"{shape.architecture}.{key}": value for key, value in shape.keys.items()},
        **vocabulary(shape.vocabulary, shape.merges),
    }
    generator = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(struct.pack("<4sIQQ", b"GGUF", 3, len(shape.tensors), len(values)))
        for key, value in values.items():
            file.write(_text(key) + _encode(value))
        offset = 0
        for name, extents, quant in shape.tensors:
            file.write(_text(name) + struct.pack("<I", len(extents)))
            file.write(struct.pack(f"<{len(extents)}QIQ", *reversed(extents), by_name(quant).id, offset))
            offset += _padding_to(_nbytes(extents, by_name(quant)))
        file.write(bytes(-file.tell() % ALIGNMENT))
        if not weights:
            file.truncate(file.tell() + offset)
            return
        for name, extents, quant in shape.tensors:
            if hole_above is not None and math.prod(extents) > hole_above:
                file.truncate(file.seek(_padding_to(_nbytes(extents, by_name(quant))), os.SEEK_CUR))
            else:
                _write_weights(file, extents, by_name(quant), generator, negative=name.endswith("ssm_a"))


def vocabulary(size: int, count: int) -> dict[str, Value]:
    """Return a byte-level BPE vocabulary: 256 bytes, a token for each merge, special ones, and padding up to `size`.

    As in real ones, most merges are of early tokens: indices are drawn as the cube of a uniform random number.
    """
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    tokens = [*map(chr, keep), *(chr(256 + n) for n in range(256 - len(keep)))]
    known, merges, draw = set(tokens), list[str](), random.Random(0).random
    while len(merges) < count:
        left, right = (tokens[int(len(tokens) * draw() ** 3)] for _ in range(2))
        if len(left + right) <= 12 and left + right not in known:
            known.add(left + right)
            tokens.append(left + right)
            merges.append(f"{left} {right}")
    special = ["<|endoftext|>", *(f"<|special_{n}|>" for n in range(1, SPECIAL))]
    padding = [f"[PAD{index}]" for index in range(len(tokens) + SPECIAL, size)]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": [*tokens, *special, *padding],
        "tokenizer.ggml.token_type": [NORMAL] * len(tokens) + [CONTROL] * SPECIAL + [UNUSED] * len(padding),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": len(tokens),
    }


def _write_weights(
    file: BinaryIO,
    extents: Sequence[int],
    quant: QuantType,
    generator: np.random.Generator,
    *,
    negative: bool,
) -> None:
    for count in _steps(int(np.prod(extents)) // quant.weights):
        blocks = random_blocks(quant, count, generator)
        file.write((-np.abs(blocks.view("<f4")) if negative else blocks).tobytes())
    file.write(bytes(-file.tell() % ALIGNMENT))


def random_blocks(
    quant: QuantType, count: int, generator: np.random.Generator
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    """Return blocks of random bytes, except the scales: small normal numbers, so that every weight is finite."""
    blocks = np.frombuffer(generator.bytes(count * quant.block_bytes), quant.layout).copy()
    for name in quant.layout.names or ():
        field = blocks[name]
        if field.dtype.kind == "f":
            field[...] = generator.standard_normal(field.shape, np.float32) * np.float32(0.02)
    return blocks


def _steps(blocks: int) -> Iterator[int]:
    for first in range(0, blocks, BLOCKS_AT_ONCE):
        yield min(BLOCKS_AT_ONCE, blocks - first)


def _nbytes(extents: Sequence[int], quant: QuantType) -> int:
    return int(np.prod(extents)) // quant.weights * quant.block_bytes


def _padding_to(nbytes: int) -> int:
    return nbytes + -nbytes % ALIGNMENT


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _encode(value: Value) -> bytes:
    match value:
        case str():
            return struct.pack("<I", STRING) + _text(value)
        case int():
            return struct.pack("<II", U32, value)
        case float():
            return struct.pack("<If", F32, value)
        case [str(), *_]:
            items = b"".join(_text(str(item)) for item in value)
            return struct.pack("<IIQ", ARRAY, STRING, len(value)) + items
    return struct.pack("<IIQ", ARRAY, I32, len(value)) + struct.pack(f"<{len(value)}i", *value)
