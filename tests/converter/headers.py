"""Headers made in memory, metadata and a tensor table without a file: a valid model's with changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from llorch.formats.gguf.file import Header, Part, Tensor
from llorch.formats.gguf.metadata import Metadata, Value, ValueType
from llorch.formats.model_file import Identity
from llorch.formats.quants import by_name
from tests.converter.executed import Tokens

Shape = tuple[int, ...]

TOKENS = Tokens(50, [2])

LLAMA_KEYS: Mapping[str, object] = {
    "general.architecture": "llama",
    "llama.context_length": 128,
    "llama.embedding_length": 32,
    "llama.block_count": 2,
    "llama.feed_forward_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "llama.rope.dimension_count": 8,
    "tokenizer.ggml.eos_token_id": 2,
}

_LAYER: Mapping[str, Shape] = {
    "attn_norm.weight": (32,),
    "attn_q.weight": (32, 32),
    "attn_k.weight": (16, 32),
    "attn_v.weight": (16, 32),
    "attn_output.weight": (32, 32),
    "ffn_norm.weight": (32,),
    "ffn_gate.weight": (64, 32),
    "ffn_up.weight": (64, 32),
    "ffn_down.weight": (32, 64),
}

LLAMA_TENSORS: Mapping[str, Shape] = {
    "token_embd.weight": (50, 32),
    "output_norm.weight": (32,),
    "output.weight": (50, 32),
    **{f"blk.{layer}.{name}": shape for layer in range(2) for name, shape in _LAYER.items()},
}


def header_of(
    keys: Mapping[str, object], shapes: Mapping[str, Shape], types: Mapping[str, str] | None = None
) -> Header:
    """Return a header with these keys and tensors (F32 except for `types`); None leaves a key or tensor out."""
    tensors = {}
    for name, shape in shapes.items():
        kind = by_name((types or {}).get(name, "F32"))
        nbytes = math.prod(shape) // kind.weights * kind.block_bytes
        tensors[name] = Tensor(name, shape, kind, 0, 0, nbytes)
    values = {key: _value(key, value) for key, value in keys.items() if value is not None}
    part = Part(Path("model.gguf"), Identity(0, 0, 0, 0, 0), 3, 0)
    return Header((part,), Metadata(values), tensors)


def llama(
    keys: Mapping[str, object] | None = None,
    tensors: Mapping[str, Shape | None] | None = None,
    types: Mapping[str, str] | None = None,
) -> Header:
    """Return the tiny Llama's header with some keys and tensors changed, added, or (None) left out."""
    shapes: dict[str, Shape | None] = {**LLAMA_TENSORS, **(tensors or {})}
    kept = {name: shape for name, shape in shapes.items() if shape is not None}
    return header_of({**LLAMA_KEYS, **(keys or {})}, kept, types)


def _value(key: str, data: object) -> Value:
    kinds: Mapping[type, ValueType] = {
        str: ValueType.STRING,
        bool: ValueType.BOOL,
        int: ValueType.I64,
        float: ValueType.F32,
    }
    if isinstance(data, list):
        return Value(key, ValueType.ARRAY, kinds[type(data[0])], 0, np.array(data))
    kind = kinds[type(data)]
    rounded = float(np.float32(data)) if isinstance(data, float) else data
    return Value(key, kind, kind, 0, rounded)  # type: ignore[arg-type]
