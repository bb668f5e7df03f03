"""Which layers of ERNIE 4.5 are mixtures: the same as in transformers' class, for any index of the last one."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.kinds import FFNS


@pytest.mark.parametrize("last", [-1, 0, 2, 3, 4, 9])
@pytest.mark.parametrize(("first", "step"), [(0, 1), (1, 1), (1, 2), (3, 2)])
def test_layers_are_mixtures_up_to_the_last_one_that_config_json_names(
    first: int, step: int, last: int
) -> None:
    from transformers import Ernie4_5_MoeConfig
    from transformers.models.ernie4_5_moe.modeling_ernie4_5_moe import (
        Ernie4_5_MoeDecoderLayer,
        Ernie4_5_MoeSparseMoeBlock,
    )

    original = Ernie4_5_MoeConfig(
        hidden_size=8, intermediate_size=8, moe_intermediate_size=4, num_hidden_layers=5, num_attention_heads=2,
        num_key_value_heads=1, moe_num_experts=2, moe_k=1, vocab_size=16, moe_layer_start_index=first,
        moe_layer_interval=step, moe_layer_end_index=last,
    )  # fmt: skip
    blocks = [Ernie4_5_MoeDecoderLayer(original, layer).mlp for layer in range(5)]
    said = {"model_type": "ernie4_5_moe", "moe_layer_start_index": first, "moe_layer_interval": step}
    config = Config.of_values({**said, "moe_layer_end_index": last}, Path("config.json"))
    built = ["mixture" if isinstance(block, Ernie4_5_MoeSparseMoeBlock) else "dense" for block in blocks]
    assert FFNS["moe_layer_interval"](config, 5) == built
