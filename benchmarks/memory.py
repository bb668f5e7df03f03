"""Measures the peak memory of converting large mixtures of experts, which must stay below 500 MB.

    python -m benchmarks.memory [--scratch DIR] [--threads N] [NAME …]

Shapes are those of published models, with few layers. Small tensors are random; large ones are holes in the file, which
read as zeros, since memory doesn't depend on the values. The folders have up to 8 GB, one at a time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import click

from benchmarks.convert import child
from benchmarks.full_size import Shape, Tensors, of_layer, write_model

BOUND = 500 * 10**6
SMALL = 1 << 20  # most weights of a tensor that is written; larger ones are holes
CONVERT = """
import sys
from llorch.converter import convert
convert(*sys.argv[1:3], dtype=sys.argv[3], threads=int(sys.argv[4]))
"""


def gpt_oss_20b(layers: int = 3) -> Shape:
    """32 experts of 2880 × 2880 in MXFP4; all else Q8_0, as in ggml-org's file."""
    hidden, ff, experts, q, kv, vocabulary = 2880, 2880, 32, 4096, 512, 201088
    tensors: Tensors = [("token_embd.weight", (vocabulary, hidden), "Q8_0")]
    for i in range(layers):
        tensors += of_layer(
            i,
            ("attn_norm.weight", (hidden,), "F32"),
            ("attn_q.weight", (q, hidden), "Q8_0"), ("attn_q.bias", (q,), "F32"),
            ("attn_k.weight", (kv, hidden), "Q8_0"), ("attn_k.bias", (kv,), "F32"),
            ("attn_v.weight", (kv, hidden), "Q8_0"), ("attn_v.bias", (kv,), "F32"),
            ("attn_output.weight", (hidden, q), "Q8_0"), ("attn_output.bias", (hidden,), "F32"),
            ("attn_sinks.weight", (64,), "F32"),
            ("post_attention_norm.weight", (hidden,), "F32"),
            ("ffn_gate_inp.weight", (experts, hidden), "F32"), ("ffn_gate_inp.bias", (experts,), "F32"),
            ("ffn_gate_exps.weight", (experts, ff, hidden), "MXFP4"), ("ffn_gate_exps.bias", (experts, ff), "F32"),
            ("ffn_up_exps.weight", (experts, ff, hidden), "MXFP4"), ("ffn_up_exps.bias", (experts, ff), "F32"),
            ("ffn_down_exps.weight", (experts, hidden, ff), "MXFP4"), ("ffn_down_exps.bias", (experts, hidden), "F32"),
        )  # fmt: skip
    tensors += [("output_norm.weight", (hidden,), "F32"), ("output.weight", (vocabulary, hidden), "Q8_0")]
    return Shape("gpt-oss", vocabulary, 199742, {
        "block_count": layers, "context_length": 131072, "embedding_length": hidden, "feed_forward_length": ff,
        "attention.head_count": 64, "attention.head_count_kv": 8, "attention.key_length": 64,
        "attention.value_length": 64, "attention.layer_norm_rms_epsilon": 1e-5, "attention.sliding_window": 128,
        "expert_count": experts, "expert_used_count": 4, "expert_feed_forward_length": ff, "rope.freq_base": 150000.0,
        "rope.scaling.type": "yarn", "rope.scaling.factor": 32.0, "rope.scaling.original_context_length": 4096,
    }, tuple(tensors))  # fmt: skip


def qwen3_5_35b_a3b(layers: int = 4) -> Shape:
    """256 experts of 512 × 2048, three recurrent layers per layer of attention; the most common types of Q4_K_M."""
    hidden, ff, experts, vocabulary = 2048, 512, 256, 248320
    keys, values, heads = 2048, 4096, 32
    tensors: Tensors = [("token_embd.weight", (vocabulary, hidden), "Q4_K")]
    for i in range(layers):
        mixer: Tensors = [
            ("attn_qkv.weight", (2 * keys + values, hidden), "Q5_K"),
            ("attn_gate.weight", (values, hidden), "Q4_K"),
            ("ssm_conv1d.weight", (2 * keys + values, 4), "F32"), ("ssm_dt.bias", (heads,), "F32"),
            ("ssm_a", (heads,), "F32"), ("ssm_alpha.weight", (heads, hidden), "F32"),
            ("ssm_beta.weight", (heads, hidden), "F32"), ("ssm_norm.weight", (128,), "F32"),
            ("ssm_out.weight", (hidden, values), "Q5_K"),
        ]  # fmt: skip
        if i % 4 == 3:
            mixer = [
                ("attn_q.weight", (2 * 4096, hidden), "Q4_K"), ("attn_k.weight", (512, hidden), "Q4_K"),
                ("attn_v.weight", (512, hidden), "Q6_K"), ("attn_output.weight", (hidden, 4096), "Q4_K"),
                ("attn_q_norm.weight", (256,), "F32"), ("attn_k_norm.weight", (256,), "F32"),
            ]  # fmt: skip
        tensors += of_layer(
            i, *mixer,
            ("attn_norm.weight", (hidden,), "F32"), ("post_attention_norm.weight", (hidden,), "F32"),
            ("ffn_gate_inp.weight", (experts, hidden), "F32"), ("ffn_gate_inp_shexp.weight", (hidden,), "F32"),
            ("ffn_gate_exps.weight", (experts, ff, hidden), "Q4_K"),
            ("ffn_up_exps.weight", (experts, ff, hidden), "Q4_K"),
            ("ffn_down_exps.weight", (experts, hidden, ff), "Q6_K"),
            ("ffn_gate_shexp.weight", (ff, hidden), "Q8_0"), ("ffn_up_shexp.weight", (ff, hidden), "Q8_0"),
            ("ffn_down_shexp.weight", (hidden, ff), "Q8_0"),
        )  # fmt: skip
    tensors += [("output_norm.weight", (hidden,), "F32"), ("output.weight", (vocabulary, hidden), "Q6_K")]
    return Shape("qwen35moe", vocabulary, 247587, {
        "block_count": layers, "context_length": 262144, "embedding_length": hidden, "attention.head_count": 16,
        "attention.head_count_kv": 2, "attention.key_length": 256, "attention.value_length": 256,
        "attention.layer_norm_rms_epsilon": 1e-6, "expert_count": experts, "expert_used_count": 8,
        "expert_feed_forward_length": ff, "expert_shared_feed_forward_length": ff, "rope.freq_base": 1e7,
        "rope.dimension_count": 64, "rope.dimension_sections": [11, 11, 10, 0], "full_attention_interval": 4,
        "ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.time_step_rank": heads,
        "ssm.inner_size": values,
    }, tuple(tensors))  # fmt: skip


def llama_4_scout(experts: str) -> Callable[[], Shape]:
    """16 experts of 5120 × 8192 in the type `experts`; one layer, whose folder has 8 GB."""

    def shape() -> Shape:
        hidden, ff, count, vocabulary = 5120, 8192, 16, 202048
        tensors: Tensors = [
            ("token_embd.weight", (vocabulary, hidden), "Q4_K"),
            *of_layer(
                0,
                ("attn_norm.weight", (hidden,), "F32"), ("ffn_norm.weight", (hidden,), "F32"),
                ("attn_q.weight", (hidden, hidden), "Q4_K"), ("attn_k.weight", (1024, hidden), "Q4_K"),
                ("attn_v.weight", (1024, hidden), "Q6_K"), ("attn_output.weight", (hidden, hidden), "Q4_K"),
                ("ffn_gate_inp.weight", (count, hidden), "F32"),
                ("ffn_gate_exps.weight", (count, ff, hidden), experts),
                ("ffn_up_exps.weight", (count, ff, hidden), experts),
                ("ffn_down_exps.weight", (count, hidden, ff), experts),
                ("ffn_gate_shexp.weight", (ff, hidden), "Q4_K"), ("ffn_up_shexp.weight", (ff, hidden), "Q4_K"),
                ("ffn_down_shexp.weight", (hidden, ff), "Q4_K"),
            ),
            ("output_norm.weight", (hidden,), "F32"), ("output.weight", (vocabulary, hidden), "Q6_K"),
        ]  # fmt: skip
        return Shape("llama4", vocabulary, 200704, {
            "block_count": 1, "context_length": 10485760, "embedding_length": hidden, "feed_forward_length": 16384,
            "attention.head_count": 40, "attention.head_count_kv": 8, "attention.key_length": 128,
            "attention.value_length": 128, "attention.layer_norm_rms_epsilon": 1e-5, "expert_count": count,
            "expert_used_count": 1, "expert_feed_forward_length": ff, "interleave_moe_layer_step": 1,
            "rope.freq_base": 500000.0, "rope.dimension_count": 128,
        }, tuple(tensors))  # fmt: skip

    return shape


# Name → the model, and the dtype of the conversion.
CASES: Mapping[str, tuple[Callable[[], Shape], str]] = {
    "gpt-oss-20b": (gpt_oss_20b, "auto"),
    "gpt-oss-20b, dequantized": (gpt_oss_20b, "bfloat16"),
    "Qwen3.5-35B-A3B": (qwen3_5_35b_a3b, "auto"),
    "Llama-4-Scout, Q4_K": (llama_4_scout("Q4_K"), "bfloat16"),
    "Llama-4-Scout, BF16": (llama_4_scout("BF16"), "bfloat16"),
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(CASES)))
@click.option(
    "--scratch", type=click.Path(file_okay=False, path_type=Path), help="Where there are 12 GB free."
)
@click.option("--threads", default=2, show_default=True)
def main(names: Sequence[str], scratch: Path | None, threads: int) -> None:
    """Convert each of NAMES, by default all, and print its peak; exit code 1 if one is above the bound."""
    above = False
    click.echo(f"| model | folder | dtype | threads | seconds | peak, MB (bound {BOUND // 10**6}) |")
    click.echo("|---|---|---|---|---|---|")
    for name in names or CASES:
        make, dtype = CASES[name]
        with tempfile.TemporaryDirectory(dir=scratch) as place:
            source, folder = Path(place, "model.gguf"), Path(place, "folder")
            write_model(make(), source, hole_above=SMALL)
            measured = child(CONVERT, source, folder, Path(dtype), Path(str(threads)))
            size = sum(file.stat().st_size for file in folder.iterdir())
            shutil.rmtree(folder)
        above |= measured.peak_bytes > BOUND
        row = (
            name,
            f"{size / 1e9:.1f} GB",
            dtype,
            threads,
            round(measured.wall_s),
            round(measured.peak_bytes / 1e6),
        )
        click.echo(f"| {' | '.join(map(str, row))} |")
    sys.exit(1 if above else 0)


if __name__ == "__main__":
    main()
