"""Rules applied to tensors: joined, cut and sliced rows."""

from __future__ import annotations

import numpy as np

from llorch.converter.architectures.phi3 import PHI3
from llorch.converter.plan.sizes import Layers
from llorch.converter.plan.tensors import assign
from llorch.converter.schema.architecture import Rule
from llorch.formats.gguf.file import Tensor
from tests.converter.headers import Shape, header_of

SIZES = {
    "layers": 1,
    "experts": 2,
    "ff": 3,
    "hidden": 4,
    "heads": 2,
    "head_dim": 2,
    "q": 4,
    "kv": 2,
    "vocab": 5,
}
LAYERS = Layers.uniform(SIZES)


def tensors_of(shapes: dict[str, Shape]) -> dict[str, Tensor]:
    return dict(header_of({}, shapes).tensors)


def test_stacked_experts_are_joined_expert_by_expert() -> None:
    rules = [Rule("gate", "both", "experts ff hidden"), Rule("up", "both", "experts ff hidden")]
    (made,) = assign(rules, tensors_of({"gate": (2, 3, 4), "up": (2, 3, 4)}), LAYERS).outputs
    assert made.shape == (2, 6, 4)
    assert [(s.source.name, s.first, s.rows) for s in made.segments] == [
        ("gate", 0, 3),
        ("up", 0, 3),
        ("gate", 3, 3),
        ("up", 3, 3),
    ]
    gate, up = np.arange(24.0).reshape(2, 3, 4), -np.arange(24.0).reshape(2, 3, 4)
    rows = {"gate": gate.reshape(-1, 4), "up": up.reshape(-1, 4)}
    joined = np.concatenate([rows[s.source.name][s.first : s.first + s.rows] for s in made.segments])
    assert np.array_equal(joined.reshape(made.shape), np.concatenate([gate, up], axis=1))


def test_neighbouring_rows_of_one_tensor_are_one_segment() -> None:
    whole = tensors_of({"blk.0.attn_qkv.weight": (8, 4)})
    rules = [rule for rule in PHI3.tensors if "qkv_proj" in rule.target]
    (made,) = assign(rules, whole, LAYERS).outputs
    assert [(s.first, s.rows) for s in made.segments] == [(0, 8)]


def test_separate_tensors_are_joined_where_transformers_has_one() -> None:
    apart = tensors_of(
        {"blk.0.attn_q.weight": (4, 4), "blk.0.attn_k.weight": (2, 4), "blk.0.attn_v.weight": (2, 4)}
    )
    rules = [rule for rule in PHI3.tensors if "qkv_proj" in rule.target]
    (made,) = assign(rules, apart, LAYERS).outputs
    assert (made.name, made.shape) == ("model.layers.0.self_attn.qkv_proj.weight", (8, 4))
    assert [(s.source.name[11], s.rows) for s in made.segments] == [("q", 4), ("k", 2), ("v", 2)]


def test_the_rows_of_a_matrix_may_be_tensors_each() -> None:
    rules = [Rule("norms", "norms.{h}.weight", "heads head_dim")]
    made = assign(rules, tensors_of({"norms": (2, 2)}), LAYERS).outputs
    assert [(o.name, o.shape, o.segments[0].first, o.segments[0].rows) for o in made] == [
        ("norms.0.weight", (2,), 0, 1),
        ("norms.1.weight", (2,), 1, 1),
    ]


def test_a_matrix_of_one_row_may_have_lost_its_outer_dimension() -> None:
    rules = [Rule("norms", "norms.{h}.weight", "1 head_dim")]
    (made,) = assign(rules, tensors_of({"norms": (2,)}), LAYERS).outputs
    assert (made.name, made.shape, made.segments[0].rows, made.segments[0].columns) == (
        "norms.0.weight",
        (2,),
        2,
        1,
    )


def test_a_flag_may_be_negated() -> None:
    rules = [Rule("norm", "norm", "hidden", flag="not_parallel")]
    assert assign(rules, tensors_of({"norm": (4,)}), LAYERS).flags == {"parallel": False}
    assert assign(rules, {}, LAYERS).flags == {"parallel": True}
