"""Tiny models with a byte-level vocabulary: the smallest llama that loads, and random ones that show faults."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tests.models.gguf_writer import BOOL, F32, I32, STRING, TYPE_F32, U32, Model, Value, array, one


def byte_level() -> list[str]:
    """The printable stand-ins of the 256 bytes in GPT-2's vocabulary."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in keep]
    stand_in = {byte: chr(byte) for byte in keep} | {byte: chr(256 + i) for i, byte in enumerate(rest)}
    return [stand_in[byte] for byte in range(256)]


TOKENS = [*byte_level(), "he", "ll", "llo", "hello", "Ġw", "<|bos|>", "<|eos|>", "<|pad|>"]
MERGES = ["h e", "l l", "ll o", "he llo", "Ġ w"]
WIDTH, HEADS, KV_HEADS, HEAD_DIM, FEED_FORWARD, VOCABULARY = 32, 4, 2, 8, 64, len(TOKENS)


def tiny_llama() -> Model:
    """Q8_0 matrices, F32 norms, an output layer of its own; 4 heads over 2 key-value heads."""
    model = Model()
    for key, value in {
        "general.architecture": one(STRING, "llama"),
        "general.name": one(STRING, "tiny"),
        "general.file_type": one(U32, 7),
        "general.quantization_version": one(U32, 2),
        "llama.block_count": one(U32, 1),
        "llama.context_length": one(U32, 128),
        "llama.embedding_length": one(U32, WIDTH),
        "llama.feed_forward_length": one(U32, FEED_FORWARD),
        "llama.attention.head_count": one(U32, HEADS),
        "llama.attention.head_count_kv": one(U32, KV_HEADS),
        "llama.attention.layer_norm_rms_epsilon": one(F32, 1e-5),
        "llama.rope.freq_base": one(F32, 10000.0),
        "llama.rope.dimension_count": one(U32, HEAD_DIM),
        "llama.vocab_size": one(U32, VOCABULARY),
        **vocabulary_keys(),
    }.items():
        model.key(key, value)
    model.tensor("token_embd.weight", [WIDTH, VOCABULARY])
    for name, shape in (
        ("attn_q", [WIDTH, HEADS * HEAD_DIM]),
        ("attn_k", [WIDTH, KV_HEADS * HEAD_DIM]),
        ("attn_v", [WIDTH, KV_HEADS * HEAD_DIM]),
        ("attn_output", [HEADS * HEAD_DIM, WIDTH]),
        ("ffn_gate", [WIDTH, FEED_FORWARD]),
        ("ffn_up", [WIDTH, FEED_FORWARD]),
        ("ffn_down", [FEED_FORWARD, WIDTH]),
    ):
        model.tensor(f"blk.0.{name}.weight", shape)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        model.tensor(name, [WIDTH], TYPE_F32)
    return model.tensor("output.weight", [WIDTH, VOCABULARY])


def vocabulary_keys() -> dict[str, Value]:
    """TOKENS and MERGES as a GPT-2 tokenizer, and a chat template."""
    return {
        "tokenizer.ggml.model": one(STRING, "gpt2"),
        "tokenizer.ggml.pre": one(STRING, "gpt-2"),
        "tokenizer.ggml.tokens": array(STRING, TOKENS),
        "tokenizer.ggml.token_type": array(I32, [1] * (VOCABULARY - 3) + [3] * 3),
        "tokenizer.ggml.merges": array(STRING, MERGES),
        "tokenizer.ggml.bos_token_id": one(U32, VOCABULARY - 3),
        "tokenizer.ggml.eos_token_id": one(U32, VOCABULARY - 2),
        "tokenizer.ggml.padding_token_id": one(U32, VOCABULARY - 1),
        "tokenizer.ggml.add_bos_token": one(BOOL, 0),
        "tokenizer.chat_template": one(STRING, "{% for m in messages %}{{ m['content'] }}{% endfor %}"),
    }


def random_llama(
    *,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    feed_forward: int = 96,
    tied: bool = False,
    matrices: str = "F32",
    seed: int = 0,
) -> Model:
    """A llama whose faults show: peaked attention, norms away from 1, logits far apart.

    matrices: the type of everything of rank 2, which gguf-py quantizes; rows have to hold whole blocks.
    """
    rows = width // heads * kv_heads
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (VOCABULARY, width)}
    for layer in range(layers):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_norm": (width,),
                "attn_q": (width, width),
                "attn_k": (rows, width),
                "attn_v": (rows, width),
                "attn_output": (width, width),
                "ffn_norm": (width,),
                "ffn_gate": (feed_forward, width),
                "ffn_up": (feed_forward, width),
                "ffn_down": (width, feed_forward),
            }.items()
        }
    shapes |= {"output_norm": (width,)} | ({} if tied else {"output": (VOCABULARY, width)})
    random = np.random.default_rng(seed)
    model = tiny_llama()
    model.tensors.clear()
    for key, number in {
        "block_count": layers,
        "embedding_length": width,
        "feed_forward_length": feed_forward,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "rope.dimension_count": width // heads,
    }.items():
        model.key(f"llama.{key}", one(U32, number))
    return add_arrays(model, {f"{n}.weight": _telling(random, n, s) for n, s in shapes.items()}, matrices)


def _telling(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Random weights of a size at which a fault in them, or in what is done with them, changes the logits."""
    if len(shape) == 1:
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    peaked = 3.0 if name.endswith(("attn_q", "attn_k")) else 1.0
    return (random.standard_normal(shape) * peaked / math.sqrt(shape[-1])).astype(np.float32)


def add_arrays(model: Model, arrays: Mapping[str, NDArray[np.float32]], matrices: str = "F32") -> Model:
    """Adds tensors in NumPy's order of dimensions; those of rank 2 and more in the type named."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    for name, weights in arrays.items():
        type = GGMLQuantizationType[matrices if weights.ndim > 1 else "F32"]
        model.tensor(name, weights.shape[::-1], int(type), data=quantize(weights, type).tobytes())
    return model


def llama3_scaled() -> Model:
    """A random llama with the divisors of llama3's rope scaling, as all of Llama 3.1 to 3.3 have them.

    Factor 8, low 1, high 4. Source: transformers, modeling_rope_utils.py, `_compute_llama3_parameters`.
    """
    base, head_dim, original_context = 100.0, 16, 128
    frequencies = base ** (-np.arange(0, head_dim, 2) / head_dim)
    wavelengths = 2 * np.pi / frequencies
    smooth = np.clip((original_context / wavelengths - 1) / (4 - 1), 0, 1)
    divisors = (1 / (smooth + (1 - smooth) / 8)).astype(np.float32)
    model = random_llama().key("llama.rope.freq_base", one(F32, base))
    return add_arrays(model, {"rope_freqs.weight": divisors})
