"""The benchmark's own inputs, as large as published models, must convert."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.full_size import SHAPES, Shape, phi_3_mini, qwen2_5_0_5b, uses_more_bits, write_model
from llorch.converter import convert
from llorch.formats.gguf.file import read_header


@pytest.mark.parametrize(
    ("shape", "weights"),
    # The published counts of parameters: 494 million (the tied output layer once), and 3.8 billion.
    [(qwen2_5_0_5b(), 494_032_768), (phi_3_mini(), 3_821_079_552)],
    ids=SHAPES,
)
def test_a_shape_has_as_many_weights_as_the_published_model(shape: Shape, weights: int) -> None:
    total = 0
    for _, extents, _ in shape.tensors:
        count = 1
        for extent in extents:
            count *= extent
        total += count
    assert total == weights


def test_half_of_the_layers_get_more_bits() -> None:
    # llama-quantize's choice for 32 layers: the first and last four, and every third between.
    more = [layer for layer in range(32) if uses_more_bits(layer, 32)]
    assert more == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]


def test_a_written_file_converts(tmp_path: Path) -> None:
    hidden, kv, ff, vocabulary = 64, 32, 96, 300
    shape = Shape(
        "qwen2",
        vocabulary,
        20,
        {
            **qwen2_5_0_5b().keys,
            "block_count": 1,
            "embedding_length": hidden,
            "feed_forward_length": ff,
            "attention.head_count": 4,
        },
        (
            ("token_embd.weight", (vocabulary, hidden), "Q8_0"),
            *(
                (f"blk.0.{name}", extents, quant)
                for name, extents, quant in (
                    ("attn_norm.weight", (hidden,), "F32"),
                    ("attn_q.weight", (hidden, hidden), "Q5_0"),
                    ("attn_k.weight", (kv, hidden), "Q5_0"),
                    ("attn_v.weight", (kv, hidden), "Q8_0"),
                    ("attn_q.bias", (hidden,), "F32"),
                    ("attn_k.bias", (kv,), "F32"),
                    ("attn_v.bias", (kv,), "F32"),
                    ("attn_output.weight", (hidden, hidden), "Q5_0"),
                    ("ffn_norm.weight", (hidden,), "F32"),
                    ("ffn_gate.weight", (ff, hidden), "Q5_0"),
                    ("ffn_up.weight", (ff, hidden), "Q5_0"),
                    ("ffn_down.weight", (hidden, ff), "Q5_0"),
                )
            ),
            ("output_norm.weight", (hidden,), "F32"),
        ),
    )
    write_model(shape, tmp_path / "small.gguf")
    header = read_header(tmp_path / "small.gguf")
    assert len(header.tensors) == len(shape.tensors)
    assert len(header.metadata.texts("tokenizer.ggml.merges")) == 20
    conversion = convert(tmp_path / "small.gguf", tmp_path / "out")
    assert len(conversion.tensors) == len(shape.tensors)
