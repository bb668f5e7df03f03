"""Which of several classes a file of one `general.architecture` is for."""

from __future__ import annotations

from llorch.converter.schema.architecture import Evidence


def has_experts(evidence: Evidence) -> bool:
    """The feed-forward layers are mixtures of experts."""
    return evidence.keys.integer("expert_count", 0) > 0


def is_mistral(evidence: Evidence) -> bool:
    """A dense llama that only Mistral's class can express, or that says it is one.

    Nothing in a GGUF names the class. Llama's refuses heads that do not divide the hidden size and knows no
    window; Mistral's has no biases.
    """
    keys = evidence.keys
    if has_experts(evidence) or any(name.endswith(".bias") for name in evidence.tensors):
        return False
    heads = keys.count("attention.head_count")
    uneven = keys.count("embedding_length") % heads != 0
    names = [keys.metadata.get(f"general.{key}") for key in ("name", "basename", "base_model.0.name")]
    said = any("mistral" in str(name.data).lower() for name in names if name is not None)
    return uneven or said or keys.has("attention.sliding_window")


def has_qkv_bias_only(evidence: Evidence) -> bool:
    """Biases on q, k and v, none on the attention's output: Qwen2's class computes that, Llama's cannot."""
    fused = "blk.0.attn_qkv.bias" in evidence.tensors or "blk.0.attn_q.bias" in evidence.tensors
    return not has_experts(evidence) and fused and "blk.0.attn_output.bias" not in evidence.tensors


def has_window(evidence: Evidence) -> bool:
    """Some layers attend to a window only."""
    return evidence.keys.integer("attention.sliding_window", 0) > 0


def has_temperature(evidence: Evidence) -> bool:
    """Queries are scaled by their position."""
    return evidence.keys.has("attention.temperature_scale")
