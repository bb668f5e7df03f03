"""Architecture files contain only rows, without logic, and are found by being in the folder."""

from __future__ import annotations

import ast
import math
import textwrap
from pathlib import Path

import pytest

import llorch.converter.architectures
from llorch.converter.architectures import architectures
from llorch.converter.plan.plan import make_plan
from llorch.converter.plan.sizes import shape_of
from llorch.converter.plan.tensors import FUSED
from llorch.converter.schema.architecture import Architecture, Rule, in_layers
from llorch.converter.schema.not_yet import PARTLY
from tests.converter.headers import LLAMA_KEYS, LLAMA_TENSORS, TOKENS, header_of

FOLDER = Path(llorch.converter.architectures.__file__).parent
FILES = sorted(path for path in FOLDER.glob("*.py") if path.stem != "__init__")
LOGIC = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.While,
    ast.FunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.comprehension,
    ast.Try,
)

SIZES = dict.fromkeys(
    [
        "vocab",
        "hidden",
        "heads",
        "kv_heads",
        "head_dim",
        "q",
        "kv",
        "ff",
        "experts",
        "expert_ff",
        "shared_ff",
        "layers",
        "conv_kernel",
        *("key_heads", "value_heads", "key_dim", "value_dim", "keys", "values", "repeats"),
        *("ssm_heads", "ssm_head_dim", "ssm_groups", "state", "inner", "group_inner"),
        *("rank", "q_rank", "nope", "rope_dim", "v_dim", "qk_dim", "v"),
        "per_layer",
        *("streams", "other_streams", "laurel_rank", "step_rank", "context", "qkv", "shared", "gate", "o"),
    ],
    1,
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_architecture_file_is_rows_only(file: Path) -> None:
    tree = ast.parse(file.read_text())
    logic = [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, LOGIC) and hasattr(node, "lineno")
    ]
    assert logic == []
    assert not any(isinstance(node, ast.comprehension) for node in ast.walk(tree))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_names_its_sources(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    assert "Source: llama.cpp, conversion/" in docstring or "Source: llama.cpp, src/models/" in docstring
    assert "transformers, models/" in docstring


@pytest.mark.parametrize("architecture", architectures(), ids=lambda a: f"{a.gguf}-{a.model_type}")
def test_every_row_is_complete(architecture: Architecture) -> None:
    for rule in architecture.tensors:
        assert bool(rule.unused) != bool(rule.target), rule
        assert bool(rule.target) == bool(shape_of(rule.shape, SIZES)), rule
        assert rule.operation is None or rule.operation.with_sizes(SIZES).unit_rows >= 1, rule
        assert rule.becomes is None or math.prod(shape_of(rule.becomes, SIZES)) >= 1, rule
    sources = [(rule.source, rule.layers) for rule in architecture.tensors]
    assert len(sources) == len(set(sources))
    for source, layers in sources:  # a fused source has no rule beside those of its parts
        assert not {(part, layers) for part in FUSED.get(source, ())} & set(sources)


@pytest.mark.parametrize("gguf", sorted({a.gguf for a in architectures()}))
def test_one_architecture_of_a_name_has_no_condition(gguf: str) -> None:
    """Except for names with files that no class supports."""
    assert [a.when for a in architectures() if a.gguf == gguf].count(None) == (gguf not in PARTLY)


def test_rules_in_layers_get_their_prefixes() -> None:
    (rule,) = in_layers(Rule("attn_q.weight", "self_attn.q_proj.weight"))
    assert (rule.source, rule.target) == ("blk.{i}.attn_q.weight", "model.layers.{i}.self_attn.q_proj.weight")


def test_adding_an_architecture_is_adding_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "newcomer.py").write_text(
        textwrap.dedent('''
        """A family that nobody here has heard of."""

        from llorch.converter.schema.architecture import Architecture, Key, Rule, in_layers

        NEWCOMER = Architecture(
            gguf="newcomer",
            model_type="newcomer",
            class_name="NewcomerForCausalLM",
            tensors=(
                Rule("token_embd.weight", "model.embed_tokens.weight", "vocab hidden"),
                *in_layers(
                    Rule("attn_norm.weight", "norm.weight", "hidden"),
                    Rule("attn_q.weight", "attn.qkv.weight", "q hidden"),
                    Rule("attn_k.weight", "attn.qkv.weight", "kv hidden"),
                    Rule("attn_v.weight", "attn.qkv.weight", "kv hidden"),
                    Rule("attn_output.weight", "attn.o.weight", "hidden q"),
                    Rule("ffn_norm.weight", "norm_2.weight", "hidden"),
                    Rule("ffn_gate.weight", "mlp.both.weight", "ff hidden"),
                    Rule("ffn_up.weight", "mlp.both.weight", "ff hidden"),
                    Rule("ffn_down.weight", "mlp.down.weight", "hidden ff"),
                ),
                Rule("output_norm.weight", "model.norm.weight", "hidden"),
                Rule("output.weight", "lm_head.weight", "vocab hidden"),
            ),
            keys=(Key("attention.layer_norm_rms_epsilon", "eps"),),
            assumed={},
        )
        ''')
    )
    monkeypatch.setattr(
        llorch.converter.architectures, "__path__", [*llorch.converter.architectures.__path__, str(tmp_path)]
    )
    keys = {key.replace("llama.", "newcomer."): value for key, value in LLAMA_KEYS.items()}
    planned = make_plan(header_of({**keys, "general.architecture": "newcomer"}, LLAMA_TENSORS), TOKENS)
    assert planned.config["architectures"] == ["NewcomerForCausalLM"]
    shapes = {output.name: output.shape for output in planned.outputs}
    assert shapes["model.layers.1.attn.qkv.weight"] == (64, 32)
    assert shapes["model.layers.1.mlp.both.weight"] == (128, 32)
