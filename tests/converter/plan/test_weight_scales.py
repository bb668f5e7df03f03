"""Scales beside weights: multiplied in once, compared with gguf-py's dequantization; errors name a malformed scale."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from llorch import converter
from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from tests.models.gguf_writer import TYPE_F16, TYPE_F32, Model
from tests.models.nvfp4 import (
    HEADS,
    WIDTH,
    products,
    scaled_fused_llama,
    scaled_llama,
    scaled_mixture,
)
from tests.models.tiny import VOCABULARY

HEAD_DIM = WIDTH // HEADS
MODELS = {"llama": scaled_llama, "fused": scaled_fused_llama, "mixture": scaled_mixture}
DENSE = {"attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm", "ffn_gate_inp": "block_sparse_moe.gate"}  # fmt: skip
EXPERTS = {"ffn_gate_exps": "w1", "ffn_down_exps": "w2", "ffn_up_exps": "w3"}
OUTSIDE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
           "output.weight": "lm_head.weight"}  # fmt: skip

Array = NDArray[np.float32]


def halves(weights: Array) -> Array:
    """Permute rotary pairs from neighbours to half a head apart, head by head."""
    heads = weights.reshape(-1, HEAD_DIM, weights.shape[-1])
    return np.concatenate([head[np.r_[0:HEAD_DIM:2, 1:HEAD_DIM:2]] for head in heads])


def expected(model: Model) -> dict[str, Array]:
    """transformers' names → weights, computed by the test itself."""
    wanted = {}
    for name, weights in products(model):
        if name in OUTSIDE:
            wanted[OUTSIDE[name]] = weights
            continue
        _, layer, stem, _ = name.split(".")
        prefix = f"model.layers.{layer}."
        if stem in EXPERTS:
            for e, expert in enumerate(weights):
                wanted[f"{prefix}block_sparse_moe.experts.{e}.{EXPERTS[stem]}.weight"] = expert
        elif stem in ("attn_q", "attn_k"):
            wanted[f"{prefix}self_attn.{stem[-1]}_proj.weight"] = halves(weights)
        elif stem == "attn_qkv":
            q, k, v = np.split(weights, [WIDTH, WIDTH + WIDTH // 2])
            for part, rows in {"q": halves(q), "k": halves(k), "v": v}.items():
                wanted[f"{prefix}self_attn.{part}_proj.weight"] = rows
        else:
            wanted[f"{prefix}{DENSE[stem]}.weight"] = weights
    return wanted


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_is_the_product_in_float32_rounded_once(
    name: str, dtype: str, tmp_path: Path
) -> None:
    model = MODELS[name]()
    converter.convert(model.write(tmp_path / "in.gguf"), tmp_path / "out", dtype=dtype)
    written = load_file(tmp_path / "out" / "model.safetensors")
    wanted = expected(model)
    assert written.keys() == wanted.keys()
    for tensor, weights in wanted.items():
        assert torch.equal(written[tensor], torch.from_numpy(weights.copy()).to(getattr(torch, dtype))), (
            tensor
        )


def test_a_scale_of_a_float_weight_is_multiplied_in_too(tmp_path: Path) -> None:
    model = scaled_llama()
    model.tensor("blk.0.ffn_up.weight", [64, 128], TYPE_F16)
    converter.convert(model.write(tmp_path / "in.gguf"), tmp_path / "out", dtype="float16")
    written = load_file(tmp_path / "out" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    row, scale = (
        next(r for r in model.tensors if r.name == f"blk.0.ffn_up.{kind}") for kind in ("weight", "scale")
    )
    product = np.frombuffer(row.data, np.float16).astype(np.float32) * np.frombuffer(scale.data, np.float32)
    assert torch.equal(written.reshape(-1), torch.from_numpy(product).half())


def test_the_record_has_the_scales_of_rows_and_what_was_left_out(tmp_path: Path) -> None:
    model = scaled_mixture()
    converter.convert(model.write(tmp_path / "in.gguf"), tmp_path / "out")
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    rows = {row["name"]: row["sources"] for row in record["tensors"]}
    raw = next(row.data for row in model.tensors if row.name == "blk.1.ffn_down_exps.scale")
    for e, scale in enumerate(struct.unpack("<3f", raw)):
        (source,) = rows[f"model.layers.1.block_sparse_moe.experts.{e}.w2.weight"]
        assert source == {"tensor": "blk.1.ffn_down_exps.weight", "quant": "NVFP4", "first_row": 64 * e,
                          "rows": 64, "scale": scale}  # fmt: skip
    assert "scale" not in rows["model.embed_tokens.weight"][0]
    assert record["unused_tensors"] == {
        "blk.1.attn_output.input_scale": "scales the activations, which stay float in the folder"
    }


def scale(name: str, *numbers: float, count: int | None = None) -> Callable[[Model], Model]:
    """Replace a scale's numbers."""
    data = struct.pack(f"<{len(numbers)}f", *numbers)
    return lambda model: model.tensor(name, [count or len(numbers)], TYPE_F32, data=data)


ODD: dict[str, tuple[Callable[[Model], Model], type[InputError], str]] = {
    "zero": (
        scale("blk.0.attn_q.scale", 0.0),
        MalformedInput,
        "tensor 'blk.0.attn_q.scale': number 0 is 0, which no scale can be",
    ),
    "not a number": (
        scale("blk.1.ffn_up_exps.scale", 1.0, float("nan"), 1.0),
        MalformedInput,
        "tensor 'blk.1.ffn_up_exps.scale': number 1 is nan, which",
    ),
    "infinite": (
        scale("output.scale", float("inf")),
        MalformedInput,
        "tensor 'output.scale': number 0 is inf",
    ),
    "too large": (
        scale("blk.0.attn_v.scale", 3e38),
        MalformedInput,
        "tensor 'blk.0.attn_v.weight': block 0 (NVFP4) is not finite",
    ),
    "two for a matrix": (
        scale("blk.0.attn_q.scale", 1.0, 1.0),
        MalformedInput,
        "tensor 'blk.0.attn_q.scale': is F32 [2], expected F32 [1]",
    ),
    "one for three experts": (
        scale("blk.0.ffn_down_exps.scale", 1.0),
        MalformedInput,
        "tensor 'blk.0.ffn_down_exps.scale': is F32 [1], expected F32 [3]",
    ),
    "of half precision": (
        lambda model: model.tensor("blk.0.attn_k.scale", [1], TYPE_F16, data=b"\0\x3c"),
        MalformedInput,
        "tensor 'blk.0.attn_k.scale': is F16 [1], expected F32 [1]",
    ),
    "without its weight": (
        scale("blk.0.ffn_up.scale", 1.0),
        MalformedInput,
        "tensor 'blk.0.ffn_up.scale': is there without blk.0.ffn_up.weight",
    ),
    "of the embedding": (
        scale("token_embd.scale", 1.0),
        UnsupportedInput,
        "tensor 'token_embd.scale': is unknown in the architecture llama",
    ),
    "of an output layer in another type": (
        lambda model: model.tensor(
            "output.weight", [WIDTH, VOCABULARY], TYPE_F16, data=bytes(2 * WIDTH * VOCABULARY)
        ),
        UnsupportedInput,
        "tensor 'output.scale': is unknown in the architecture llama",
    ),
}


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_scale_is_refused_by_its_name(odd: str, tmp_path: Path) -> None:
    change, kind, said = ODD[odd]
    path = change(scaled_mixture()).write(tmp_path / "in.gguf")
    with pytest.raises(kind) as caught:
        converter.convert(path, tmp_path / "out")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [found.name for found in tmp_path.iterdir()] == ["in.gguf"]


def test_a_scale_beside_a_bias_of_the_feed_forward_network_is_refused(tmp_path: Path) -> None:
    model = scaled_llama()
    for layer in range(2):
        for part, width in (("gate", 128), ("up", 128), ("down", 64)):
            model.tensor(f"blk.{layer}.ffn_{part}.bias", [width], TYPE_F32)
    model.drop(*(f"blk.{layer}.ffn_{part}.scale" for layer in range(2) for part in ("gate", "down")))
    model.drop("blk.1.ffn_up.scale")
    with pytest.raises(
        UnsupportedInput, match=r"'blk\.0\.ffn_up\.scale': is there beside blk\.0\.ffn_up\.bias"
    ):
        converter.convert(model.write(tmp_path / "in.gguf"), tmp_path / "out")
