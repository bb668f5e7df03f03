"""Families whose activations exceed float16's largest number, 65504, so that a float16 folder computes NaN."""

from __future__ import annotations

from collections.abc import Mapping

# architecture → reports.
OVERFLOWS: Mapping[str, str] = {
    "gemma3": "huggingface/transformers#36822 and vllm-project/vllm#17364: the residual sum exceeds 65504",
    "gemma4": "vllm-project/vllm#48231: all logits are NaN after a fall-back from bfloat16 to float16",
}


def float16_warnings(architecture: str, dtype: str) -> tuple[str, ...]:
    """Return warnings for a model that is written as `dtype`, a name in torch."""
    if dtype != "float16" or architecture not in OVERFLOWS:
        return ()
    return (
        f"activations of {architecture} overflow float16, which gives NaN in a loader that computes in it:"
        " --dtype bfloat16 or float32 does not",
    )
