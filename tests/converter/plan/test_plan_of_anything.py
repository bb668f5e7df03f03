"""Whatever a header contains, planning it gives a plan that JSON can express, or one line with the error."""

from __future__ import annotations

import json
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from llorch.base.errors import InputError
from llorch.converter.architectures import architectures
from llorch.converter.plan.config import NEUTRAL_KEYS
from llorch.converter.plan.plan import NOT_NEEDED, make_plan
from tests.converter.headers import LLAMA_KEYS, LLAMA_TENSORS, TOKENS, Shape, llama

KEYS = sorted(
    {key.split(".", 1)[1] for key in LLAMA_KEYS if key.startswith("llama.")}
    | {key.gguf for architecture in architectures() for key in (*architecture.keys, *NEUTRAL_KEYS)}
    | {*NOT_NEEDED, "expert_count", "expert_used_count", "attention.key_length", "attention.value_length"}
)

values = st.one_of(
    st.none(),
    st.integers(-2, 130),
    st.sampled_from([1 << 31, 1 << 40, -(1 << 62)]),
    st.floats(width=32),
    st.booleans(),
    st.sampled_from(["yarn", "linear", "longrope", "none", "", "x"]),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
shapes = st.lists(st.sampled_from([1, 2, 4, 8, 16, 32, 50, 64]), min_size=1, max_size=3).map(tuple)
names = st.sampled_from(
    [*LLAMA_TENSORS, "blk.0.attn_qkv.weight", "blk.0.attn_q.bias", "blk.9.x", "blk.0.ffn_down.0.weight"]
)


@given(
    st.dictionaries(st.sampled_from(KEYS), values, max_size=4),
    st.dictionaries(names, st.one_of(st.none(), shapes), max_size=3),
    st.booleans(),
)
def test_a_plan_or_one_line(
    keys: Mapping[str, object], tensors: Mapping[str, Shape | None], allow: bool
) -> None:
    header = llama({f"llama.{key}": value for key, value in keys.items()}, tensors)
    wrong = None
    try:
        planned = make_plan(header, TOKENS, allow_unknown=allow)
    except InputError as error:
        wrong = error
    if wrong is not None:
        assert wrong.where
        assert "\n" not in str(wrong)
    else:
        json.dumps([planned.config, planned.generation_config, planned.assumed], allow_nan=False)
        weights = {segment.source.name for output in planned.outputs for segment in output.segments}
        assert weights | set(planned.unused) == set(header.tensors)
