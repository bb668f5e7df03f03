"""Models in NVFP4 with the scales that llama.cpp's converter writes beside their weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from numpy.typing import NDArray

from tests.models.gguf_writer import TYPE_F32, U32, Model, TensorRow, one
from tests.models.tiny import add_arrays, random_llama

TYPE_NVFP4 = 40
LAYERS, WIDTH, HEADS, FEED_FORWARD, EXPERTS = 2, 64, 4, 128, 3
WITHOUT_SCALE = ("token_embd.weight", "blk.0.ffn_gate_inp.weight", "blk.1.ffn_gate_inp.weight")

Array = NDArray[np.float32]


def scaled_llama() -> Model:
    """Every matrix but the embedding in NVFP4, with a scale far from 1, and some with a scale of activations."""
    return scaled(random_llama(layers=LAYERS, width=WIDTH, heads=HEADS, feed_forward=FEED_FORWARD))


def scaled_fused_llama() -> Model:
    """The same with q, k and v as one tensor, under one scale."""
    model = random_llama(layers=LAYERS, width=WIDTH, heads=HEADS, feed_forward=FEED_FORWARD)
    for layer in range(LAYERS):
        names = [f"blk.{layer}.attn_{part}.weight" for part in "qkv"]
        fused = np.concatenate([weights for name in names for _, weights in [found(model, name)]])
        add_arrays(model.drop(*names), {f"blk.{layer}.attn_qkv.weight": fused})
    return scaled(model)


def scaled_mixture() -> Model:
    """A mixture of three experts, two of them used, whose stacked tensors have a scale an expert."""
    model = random_llama(layers=LAYERS, width=WIDTH, heads=HEADS, feed_forward=FEED_FORWARD)
    model.key("llama.expert_count", one(U32, EXPERTS)).key("llama.expert_used_count", one(U32, 2))
    random = np.random.default_rng(7)
    for layer in range(LAYERS):
        shapes = {"gate": (FEED_FORWARD, WIDTH), "up": (FEED_FORWARD, WIDTH), "down": (WIDTH, FEED_FORWARD)}
        model.drop(*(f"blk.{layer}.ffn_{part}.weight" for part in shapes))
        for part, (rows, columns) in shapes.items():
            weights = random.standard_normal((EXPERTS, rows, columns)) / math.sqrt(columns)
            add_arrays(model, {f"blk.{layer}.ffn_{part}_exps.weight": weights.astype(np.float32)})
        router = random.standard_normal((EXPERTS, WIDTH)).astype(np.float32)
        add_arrays(model, {f"blk.{layer}.ffn_gate_inp.weight": router})
    return scaled(model)


def scaled(model: Model) -> Model:
    """Random NVFP4 in place of the matrices of a model, as large as they were by a scale each, or one an expert.

    Block scales from 1/4 to 2, by which four-bit floats are 1.75 on average; gguf-py cannot quantize to this type.
    """
    random = np.random.default_rng(4)
    for row in [row for row in model.tensors if len(row.ne) > 1 and row.name not in WITHOUT_SCALE]:
        name, weights = found(model, str(row.name))
        d = random.integers(0x28, 0x40, (weights.size // 64, 4), np.uint8)
        blocks = np.hstack([d, random.integers(0, 256, (len(d), 32), np.uint8)])
        size = float(weights.std()) / 1.75
        scale = size * random.uniform(0.7, 1.4, weights.shape[0] if weights.ndim == 3 else 1)
        model.tensor(name, row.ne, TYPE_NVFP4, data=blocks.tobytes())
        add_arrays(model, {name.replace(".weight", ".scale"): scale.astype(np.float32)})
    return add_arrays(model, {"blk.1.attn_output.input_scale": np.array([0.03], np.float32)})


def found(model: Model, name: str) -> tuple[str, Array]:
    """A tensor of float32 in NumPy's order."""
    row = next(row for row in model.tensors if row.name == name)
    return name, np.frombuffer(row.data, np.float32).reshape(row.ne[::-1])


def products(model: Model) -> Iterator[tuple[str, Array]]:
    """The model's true weights: gguf-py's dequantization times the scale, in float32."""
    for row in model.tensors:
        name = str(row.name)
        if name.endswith((".weight", ".bias")):
            weights = _dequantized(row)
            if row.type == TYPE_NVFP4:
                _, scale = found(model, name.replace(".weight", ".scale"))
                weights = weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
            yield name, weights


def _dequantized(row: TensorRow) -> Array:
    shape = tuple(row.ne[::-1])
    if row.type == TYPE_F32:
        return np.frombuffer(row.data, np.float32).reshape(shape)
    raw = np.frombuffer(row.data, np.uint8).reshape(math.prod(shape[:-1]), -1)
    weights: Array = dequantize(raw, GGMLQuantizationType(row.type)).astype(np.float32)
    return weights.reshape(shape)
