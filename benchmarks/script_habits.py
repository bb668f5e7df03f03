"""Keys that llama.cpp's script writes differently from the first file regardless of the folder, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Keys = Mapping[str, Any]


def is_float32(_first: Keys, _old: object, new: object) -> bool:
    """The type is float32, as requested from the script."""
    return new == 0


def is_the_usual_head(first: Keys, old: object, new: object) -> bool:
    """The head size follows from hidden size and number of heads, and the first file doesn't have the key."""
    prefix = first["general.architecture"]
    return old is None and bool(
        new == first[f"{prefix}.embedding_length"] // first[f"{prefix}.attention.head_count"]
    )


def is_the_default_base(_first: Keys, old: object, new: object) -> bool:
    """One file has llama.cpp's default base, and the other has none."""
    return {old, new} == {None, 10000.0}


def is_falcons_context(_first: Keys, _old: object, new: object) -> bool:
    """The context length is the one the script always writes."""
    return new == 2048


def is_the_heads_size(first: Keys, old: object, new: object) -> bool:
    """Whole heads are rotated, which is llama.cpp's default without the key."""
    prefix = first["general.architecture"]
    usual = first[f"{prefix}.embedding_length"] // first[f"{prefix}.attention.head_count"]
    return new is None and bool(old == first.get(f"{prefix}.attention.key_length", usual))


def is_both_widths(_first: Keys, old: object, new: object) -> bool:
    """The old value counts gate and up together, as in Qwen 1."""
    return isinstance(new, int) and old == 2 * new


def is_scaling_by_one(_first: Keys, old: object, new: object) -> bool:
    """A linear scaling that changes nothing, or none."""
    return old in ("linear", "none", 1.0) and new is None


def is_stretched(first: Keys, old: object, new: object) -> bool:
    """A base with the stretch in it that the first file says beside it."""
    prefix = first["general.architecture"]
    alpha, dim = first.get(f"{prefix}.rope.scaling.alpha"), first[f"{prefix}.attention.key_length"]
    if not alpha or not isinstance(old, float) or not isinstance(new, float):
        return False
    return math.isclose(new, old * alpha ** (dim / (dim - 2)), rel_tol=1e-6)


def is_left_out(_first: Keys, _old: object, new: object) -> bool:
    """The script leaves the key out."""
    return new is None


def is_told_by_the_tensors(_first: Keys, old: object, new: object) -> bool:
    """The first file's flag says parallel, but it has the tensors of a sequential block."""
    return old is True and new is False


# Key, or its suffix → the differences that are due to the script, and why.
HABITS: dict[str, tuple[Callable[[Keys, object, object], bool], str]] = {
    "general.file_type": (is_float32, "the type of the weights, which the first file may have quantized"),
    "general.quantized_by": (is_left_out, "the script takes it from its option --metadata alone, not from README.md"),
    ".attention.key_length": (is_the_usual_head, "written where config.json has head_dim"),
    ".attention.value_length": (is_the_usual_head, "written where config.json has head_dim"),
    "gemma3.rope.freq_base_swa": (is_the_default_base, "written since 2025"),
    "falcon.context_length": (is_falcons_context, "the script's number for all originals, which do not say it"),
    "falcon.rope.freq_base": (is_the_default_base, "the script writes none; llama.cpp takes it"),
    "gptneox.rope.freq_base": (is_the_default_base, "the script writes none; llama.cpp takes it"),
    "glm4moe.expert_shared_feed_forward_length": (is_left_out, "Ling's; GLM-4.5's is the experts' times their number"),
    "hunyuan-dense.rope.dimension_count": (is_the_heads_size, "the script writes none; llama.cpp takes whole heads"),
    "hunyuan-dense.rope.freq_base": (is_stretched, "HunyuanVL's; the folder's base has the stretch in it"),
    "hunyuan-dense.rope.scaling.alpha": (is_left_out, "HunyuanVL's, which is in the base"),
    "hunyuan-dense.rope.scaling.type": (is_scaling_by_one, "HunyuanVL's, none, which a folder leaves out"),
    "hunyuan-dense.rope.scaling.factor": (is_scaling_by_one, "as the type"),
    "hunyuan-dense.rope.scaling.original_context_length": (is_left_out, "as the type"),
    "qwen2.rope.dimension_count": (is_the_heads_size, "Qwen 1's; the script writes none; llama.cpp takes whole heads"),
    "qwen2.feed_forward_length": (is_both_widths, "Qwen 1's, of gate and up together; Qwen2's is of one"),
    "starcoder2.rope.scaling.type": (is_scaling_by_one, "CodeShell's, by 1, which a folder leaves out"),
    "starcoder2.rope.scaling.factor": (is_scaling_by_one, "as the type"),
    "stablelm.use_parallel_residual": (
        is_told_by_the_tensors, "the script's value for originals that do not say it; llama.cpp looks for the norm"
    ),
}  # fmt: skip
