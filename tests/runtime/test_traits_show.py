"""Each config value has the same effect as in transformers: change one, keep the weights, and compare the logits.

The expected divergences are those of transformers itself when the tiny models were created (their README: mean KL in
nats over 96 tokens and the largest difference of a logit, both to one digit).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llorch.runtime.loading import load
from llorch.runtime.measure.compare import compare_logits

LONG_FACTORS = [1.08, 1.25, 1.6, 2.2, 3.1, 4.3, 5.9, 7.7]
SHORT_FACTORS = [1.0, 1.02, 1.05, 1.1, 1.21, 1.3, 1.44, 1.55]
FULL, SLIDING = "full_attention", "sliding_attention"


def rope(**values: object) -> dict[str, Any]:
    return {"rope_parameters": values}


THETA_OF = {"llama": 5e5, "mistral": 1e6, "mixtral": 1e6, "phi2": 1e4, "phi3": 1e4, "qwen2": 1e6, "qwen3": 1e6,
            "qwen2moe": 1e6, "gemma2": 1e4}  # fmt: skip
TWICE_THETA = {"llama": (3e-1, 5), "mistral": (2e-1, 4), "mixtral": (3e-1, 6), "phi2": (5e-3, 7e-1), "phi3": (3e-1, 5),
               "qwen2": (6e-2, 3), "qwen3": (8e-2, 4), "qwen2moe": (2e-1, 6), "gemma2": (1e-1, 3)}  # fmt: skip
TENFOLD_EPS = {"llama": (4e-4, 1e-1), "mistral": (3e-4, 1e-1), "mixtral": (3e-4, 4e-1), "phi2": (2e-5, 3e-2),
               "phi3": (3e-4, 2e-1), "qwen2": (3e-6, 1e-2), "qwen3": (1e-7, 2e-3), "qwen2moe": (1e-5, 2e-1),
               "gemma2": (1e-9, 2e-4), "gemma3": (4e-10, 2e-4)}  # fmt: skip
OTHERS: list[tuple[str, dict[str, Any], tuple[float, float]]] = [
    ("llama", rope(rope_type="default"), (1, 9)),
    ("llama", rope(high_freq_factor=5.0), (6e-1, 7)),
    ("mixtral", {"num_experts_per_tok": 1}, (4e-1, 5)),
    ("phi2", rope(partial_rotary_factor=0.5), (8e-2, 2)),
    ("phi3", {"sliding_window": None}, (6e-2, 6)),
    ("phi3", rope(long_factor=SHORT_FACTORS, short_factor=LONG_FACTORS), (1, 8)),
    ("phi3", rope(rope_type="default", partial_rotary_factor=1.0), (2, 8)),
    ("phi3", rope(attention_factor=1.0), (2e-1, 4)),
    ("qwen2", rope(rope_type="default"), (1, 8)),
    ("qwen2", rope(attention_factor=1.0), (2e-1, 3)),
    ("qwen2", rope(factor=2.0), (7e-1, 7)),
    ("qwen2moe", {"norm_topk_prob": True}, (5e-2, 2)),
    ("qwen2moe", {"num_experts_per_tok": 1}, (2e-1, 4)),
    ("gemma2", {"layer_types": [FULL] * 4}, (5e-1, 7)),
    ("gemma2", {"layer_types": [FULL, SLIDING] * 2}, (6e-1, 7)),
    ("gemma2", {"attn_logit_softcapping": None}, (7e-2, 3)),
    ("gemma2", {"final_logit_softcapping": None}, (3e-2, 3)),
    ("gemma2", {"query_pre_attn_scalar": 64}, (1e-2, 9e-1)),
    ("gemma3", {"layer_types": [FULL] * 7}, (1, 7)),
    ("gemma3", rope(full_attention={"rope_type": "default", "rope_theta": 1e6}), (6e-3, 7e-1)),
    ("gemma3", rope(sliding_attention={"rope_type": "linear", "factor": 8.0, "rope_theta": 1e4}), (7e-1, 6)),
    ("gemma3", rope(sliding_attention={"rope_type": "default", "rope_theta": 1e6}), (5e-1, 6)),
    ("gemma3", {"query_pre_attn_scalar": 64}, (3e-2, 1)),
    ("gemma3", {"sliding_window": 33}, (4e-2, 3)),
]
CHANGES = [
    *((name, rope(rope_theta=2 * THETA_OF[name]), shown) for name, shown in TWICE_THETA.items()),
    *(
        (name, {"layer_norm_eps" if name == "phi2" else "rms_norm_eps": 10}, shown)
        for name, shown in TENFOLD_EPS.items()
    ),
    *OTHERS,
]


@pytest.mark.parametrize(("name", "change", "shown"), CHANGES, ids=str)
def test_a_changed_value_moves_the_logits_as_far_as_in_transformers(
    test_data: Path,
    originals: Path,
    tmp_path: Path,
    name: str,
    change: dict[str, Any],
    shown: tuple[float, float],
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(originals / name / "model.safetensors", folder)
    config = json.loads((originals / name / "config.json").read_text())
    for key, value in change.items():
        if key == "rope_parameters":
            config[key].update(value)
        else:
            config[key] = value * config[key] if key.endswith("_eps") else value
    (folder / "config.json").write_text(json.dumps(config))
    with np.load(test_data / "tiny" / name / "logits.npz") as arrays:
        ids, logits = arrays["ids"].tolist(), arrays["logits"]
    with load(folder) as model:
        changed = model.logits(ids).numpy()
    assert (f"{compare_logits(logits, changed).kl_mean:.0e}", f"{abs(changed - logits).max():.0e}") == (
        f"{shown[0]:.0e}", f"{shown[1]:.0e}"
    )  # fmt: skip
