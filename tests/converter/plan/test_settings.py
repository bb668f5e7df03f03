"""`--set`: keys that the file does not determine can be set, and no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.errors import UnsupportedInput
from llorch.converter import ConvertOptions, convert, parse_setting
from llorch.registry.query.reproduce import options
from llorch.verification import verify

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
)


@pytest.fixture(scope="module")
def source(test_data: Path) -> Path:
    return test_data / "families" / "granitehybrid" / "f32.gguf"


def test_a_set_value_is_written_recorded_and_no_longer_assumed(source: Path, tmp_path: Path) -> None:
    conversion = convert(source, tmp_path / "out", set={"mamba_chunk_size": 128})
    assert json.loads((tmp_path / "out" / "config.json").read_text())["mamba_chunk_size"] == 128
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert record["options"]["set"] == {"mamba_chunk_size": 128}
    assert "mamba_chunk_size" not in conversion.assumed
    assert conversion.tree != convert(source, tmp_path / "plain").tree


def test_without_settings_nothing_is_recorded(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out")
    assert "set" not in json.loads((tmp_path / "out" / "conversion.json").read_text())["options"]


def test_a_context_that_llama_cpp_makes_up_can_be_set_and_is_verified(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", set={"max_position_embeddings": 512})
    assert verify(tmp_path / "out", source, level="quick").outcome == "PASSED"


def test_a_setting_that_contradicts_the_source_is_an_error_that_names_it(
    source: Path, tmp_path: Path
) -> None:
    convert(source, tmp_path / "out", set={"hidden_act": "relu2"})
    failed = [
        r for r in verify(tmp_path / "out", source, level="quick").results if r.name == "traits.structure"
    ]
    assert "activation" in failed[0].where


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("hidden_sizes", 3, "is no key of GraniteMoeHybridForCausalLM's"),
        ("rms_norm_eps", 0.25, "by the file it is 1e-05"),
        ("layer_types", ["mamba"], "by the file it is"),
        ("tie_word_embeddings", False, "by the file it is"),
        ("mamba_chunk_size", "many", "expected a value of the kind of 256"),
        ("mamba_chunk_size", 1.5, "expected a value of the kind of 256"),
        ("mamba_conv_bias", 1, "expected a value of the kind of true"),
    ],
)
def test_a_key_that_cannot_be_set_is_an_error_that_names_it(
    key: str, value: object, what: str, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedInput, match=what) as caught:
        convert(source, tmp_path / "out", set={key: value})
    assert f"setting '{key}'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_setting_the_value_of_the_file_changes_nothing(source: Path, tmp_path: Path) -> None:
    one = convert(source, tmp_path / "one", set={"rms_norm_eps": 1e-5})
    assert one.tree == convert(source, tmp_path / "other").tree


@given(key=st.text("abc_", min_size=1, max_size=5), value=JSON)
def test_a_recipe_repeats_the_settings(key: str, value: object) -> None:
    words = options(ConvertOptions(set={key: value}).to_json())
    assert [parse_setting(words[i + 1]) for i, word in enumerate(words) if word == "--set"] == [(key, value)]


def test_text_needs_no_quotes() -> None:
    assert parse_setting("hidden_act=silu") == ("hidden_act", "silu")
    assert parse_setting("a=1=2") == ("a", "1=2")
    assert parse_setting("a=NaN") == ("a", "NaN")
    for text in ("alone", "=1"):
        with pytest.raises(ValueError, match="KEY=VALUE"):
            parse_setting(text)
