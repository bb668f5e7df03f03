"""Each architecture: made GGUF without the converter's code, and converted back by its plan, the bits are the same."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from llorch.converter.architectures import architectures
from llorch.converter.plan.config import with_dtype
from llorch.converter.plan.dtype import DType
from llorch.converter.plan.plan import Plan
from tests.converter.executed import executed, plan_of
from tests.families import FAMILIES
from tests.models.families import FAMILY_RECIPES
from tests.models.from_transformers import RECIPES, build
from tests.models.vocabularies import VOCAB

TINY = ("gemma2", "gemma3", "llama", "mistral", "mixtral", "phi2", "phi3", "qwen2", "qwen2moe", "qwen3")

# Keys without effect on what a model computes, or that GGUF has in another form (the ids).
NO_EFFECT = {
    "_name_or_path",
    "_sliding_window_pattern",
    "architectures",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "max_window_layers",
    "model_max_length",
    "transformers_version",
    "use_cache",
}


@pytest.mark.parametrize("name", TINY)
def test_the_tensors_are_the_originals_bit_for_bit(name: str, test_data: Path) -> None:
    source = test_data / "tiny" / name / "f32.gguf"
    expected = json.loads((test_data / "tiny" / name / "tensors.json").read_text())
    found = executed(source, plan_of(source))
    digests = {
        k: {"shape": list(w.shape), "sha256": hashlib.sha256(w.tobytes()).hexdigest()}
        for k, w in found.items()
    }
    assert digests == {k: {"shape": v["shape"], "sha256": v["sha256"]} for k, v in expected.items()}


@pytest.mark.parametrize("name", TINY)
def test_transformers_reads_the_config_as_the_original(
    name: str, test_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    planned = plan_of(test_data / "tiny" / name / "f32.gguf")
    original = original_config(test_data / "tiny" / name)
    caplog.clear()  # phi3's original config logs a warning once: longrope without a factor, which version 4 forbids
    assert_same_config(read_config(planned, tmp_path), original)
    assert not caplog.records


@pytest.mark.parametrize("name", TINY)
def test_transformers_computes_the_originals_logits(name: str, test_data: Path, tmp_path: Path) -> None:
    import torch
    import transformers

    source = test_data / "tiny" / name / "f32.gguf"
    write_folder(plan_of(source), source, tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    expected = np.load(test_data / "tiny" / name / "logits.npz")
    for ids, logits in (("ids", "logits"), ("ids_short", "logits_short")):
        with torch.no_grad():
            found = model(torch.from_numpy(expected[ids])[None]).logits[0].numpy()
        assert np.abs(found - expected[logits]).max() < 1e-4


# Relative error of a tensor: half a step of b bits over a block's range is uniform noise, of which the root of
# the mean square is 1 / (2^b − 1) / 2 of uniform weights' own; a third more for weights that are not uniform.
MOST_ERROR = {"F32": 0.0, "F16": 0.0005, "Q4_K": 0.09, "Q5_0": 0.045, "Q6_K": 0.022, "Q8_0": 0.0055}


@pytest.mark.parametrize("name", TINY)
def test_a_quantized_file_differs_by_its_types_error(name: str, test_data: Path) -> None:
    exact, quantized = (test_data / "tiny" / name / f"{kind}.gguf" for kind in ("f32", "q4_k_m"))
    planned = plan_of(quantized)
    expected, found = executed(exact, plan_of(exact)), executed(quantized, planned)
    assert found.keys() == expected.keys()
    for output in planned.outputs:
        error = np.linalg.norm(found[output.name] - expected[output.name]) / np.linalg.norm(
            expected[output.name]
        )
        assert error <= MOST_ERROR[output.segments[0].source.type.name], (output.name, error)


@pytest.mark.parametrize("name", TINY)
def test_a_quantized_file_converted_back_is_what_ggml_dequantizes(name: str, test_data: Path) -> None:
    source = test_data / "tiny" / name / "q4_k_m.gguf"
    planned = plan_of(source)
    outputs = executed(source, planned)
    back: dict[str, NDArray[np.float32]] = {}
    for output in planned.outputs:
        rows = outputs[output.name].reshape(-1, output.segments[0].columns)
        rows = rows if output.operation is None else output.operation.backward(rows)
        for segment in output.segments:
            whole = back.setdefault(segment.source.name, np.empty(segment.source.shape, np.float32))
            whole.reshape(-1, segment.columns)[segment.first : segment.first + segment.rows] = rows[
                : segment.rows
            ]
            rows = rows[segment.rows :]
    expected = json.loads((source.parent / "q4_k_m_dequant.json").read_text())
    digests = {tensor: hashlib.sha256(weights.tobytes()).hexdigest() for tensor, weights in back.items()}
    assert digests == {
        tensor: said["sha256"] for tensor, said in expected.items() if tensor not in planned.unused
    }


@pytest.mark.parametrize("name", TINY)
def test_the_sampling_and_the_ids_are_the_originals(name: str, test_data: Path) -> None:
    planned = plan_of(test_data / "tiny" / name / "f32.gguf")
    original = json.loads((test_data / "tiny" / name / "generation_config.json").read_text())
    original.pop("transformers_version")
    written = dict(planned.generation_config)
    stops = {written.pop("eos_token_id")}
    assert stops <= set(np.atleast_1d(original.pop("eos_token_id")).tolist())
    assert written == original


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_of_our_own_round_trips(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch
    import transformers

    made = build(name, tmp_path)
    planned = plan_of(made.gguf)
    assert_same_tensors(executed(made.gguf, planned), made.tensors)
    assert_same_config(read_config(planned, tmp_path / "folder"), original_config(made.folder))
    write_folder(planned, made.gguf, tmp_path / "folder")
    caplog.clear()
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "folder").eval()
    assert not caplog.records
    assert type(again) is type(made.model)
    ids = torch.arange(40)[None] * 7 % VOCAB
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, made.model(ids).logits, rtol=0, atol=1e-5)


def test_every_architecture_is_among_the_models(test_data: Path) -> None:
    made = {recipe.class_name for recipe in RECIPES.values()}
    made |= {recipe.published_class for recipe in FAMILY_RECIPES.values()}
    given = {
        json.loads((test_data / folder / name / "config.json").read_text())["architectures"][0]
        for folder, names in (("tiny", TINY), ("families", FAMILIES))
        for name in names
    }
    given -= {"Qwen3VLForConditionalGeneration"}  # for text alone written as Qwen3
    assert {architecture.class_name for architecture in architectures()} == made | given


def test_every_row_has_a_recipe_whose_sizes_hide_nothing() -> None:
    """tests/runtime/test_family_recipes.py converts each recipe and reads it twice, whole and in pieces."""
    rows = Counter((one.gguf, one.class_name) for one in architectures())
    rows["gpt-oss", "GptOssForCausalLM"] -= 1  # MXFP4's blocks are of 32: tests/converter/test_mxfp4.py
    recipes = Counter((one.gguf, one.published_class) for one in FAMILY_RECIPES.values())
    assert {row: count for row, count in rows.items() if recipes[row] < count} == {}


def write_folder(planned: Plan, source: Path, folder: Path) -> None:
    """Write a folder that transformers loads: the config, and the weights in float32."""
    from safetensors.numpy import save_file

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(with_dtype(planned.config, DType.F32)))
    save_file(executed(source, planned), folder / "model.safetensors", metadata={"format": "pt"})


def read_config(planned: Plan, folder: Path) -> dict[str, Any]:
    """Return transformers' reading of the planned config.json."""
    from transformers import AutoConfig

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(with_dtype(planned.config, DType.F32)))
    return dict(AutoConfig.from_pretrained(folder).to_dict())


def original_config(folder: Path) -> dict[str, Any]:
    """Return transformers' reading of the original config.json."""
    from transformers import AutoConfig

    return dict(AutoConfig.from_pretrained(folder).to_dict())


def assert_same_config(found: dict[str, Any], original: dict[str, Any]) -> None:
    """Compare every key that has an effect; the usual head_dim may be omitted."""
    for config in (found, original):
        config["rope_parameters"] = {k: v for k, v in config["rope_parameters"].items() if k != "type"}
        usual = config["hidden_size"] // config["num_attention_heads"]
        config["head_dim"] = config.get("head_dim") or usual
        if (config.get("sliding_window") or 0) >= config["max_position_embeddings"]:
            config["sliding_window"] = None  # it hides nothing
    keys = {k for k in original if k not in NO_EFFECT and (original[k] is not None or k in found)}
    assert {k: found.get(k) for k in keys} == {k: original[k] for k in keys}


def assert_same_tensors(found: dict[str, NDArray[np.float32]], original: Any) -> None:
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in original.items()}
    different = [k for k, v in found.items() if v.tobytes() != original[k].tobytes()]
    assert different == []
