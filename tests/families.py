"""The tiny models of architectures beyond the first ones, as llama.cpp's converter wrote them: what to expect of each.

Folders of `families/` in the test data; its README says how they were made, and where llama.cpp differs.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FAMILIES = (
    "apertus",
    "arcee",
    "deepseek2",
    "ernie45",
    "exaone4",
    "falcon40",
    "gemma3n",
    "gemma4-e",
    "glm4",
    "glm4moe",
    "gptoss",
    "granitehybrid",
    "lfm2",
    "llama4",
    "mamba",
    "minimaxm2",
    "mistral3",
    "mistral4",
    "nemotron",
    "nemotronhmoe",
    "olmoe",
    "qwen35",
    "qwen3next",
    "qwen3vl",
    "seedoss",
)

# For text alone Qwen3-VL is written as Qwen3, without the tower that is in another file.
RENAMED = {"qwen3vl": ("model.language_model.", "model.")}


def expected_tensors(folder: Path) -> dict[str, tuple[list[int], str]]:
    """Name → shape and digest in float32 of the original's tensors that the GGUF holds."""
    document = json.loads((folder / "tensors.json").read_text())
    prefix, ours = RENAMED.get(folder.name, ("", ""))
    kept = {n: v for n, v in document.items() if n.startswith(prefix) or n == "lm_head.weight"}
    return {n.replace(prefix, ours, 1) if prefix else n: (v["shape"], v["sha256"]) for n, v in kept.items()}


def digest(weights: NDArray[np.float32]) -> tuple[list[int], str]:
    """A tensor's shape and digest."""
    return list(weights.shape), hashlib.sha256(np.ascontiguousarray(weights).tobytes()).hexdigest()


def as_bfloat16(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each number rounded to bfloat16, ties to even."""
    bits = np.ascontiguousarray(weights).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def logits_of(folder: Path) -> list[tuple[Any, NDArray[np.float32]]]:
    """(ids, transformers' logits): a long prompt and a short one."""
    stored = np.load(folder / "logits.npz")
    return [(stored["ids"], stored["logits"]), (stored["ids_short"], stored["logits_short"])]
