"""Missing, unexpected or misshaped tensors are errors that name them, in both formats, before any weight is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter
from safetensors.numpy import load_file, save_file

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.runtime.loading import load

Tensors = dict[str, Any]


def rewritten(source: Path, target: Path, change: Callable[[Tensors, Tensors], None]) -> Path:
    """A copy of a GGUF with changed keys or tensors: `change` may alter (keys, tensors)."""
    reader = GGUFReader(source)
    keys = {n: f.contents() for n, f in reader.fields.items() if not n.startswith(("GGUF.", "tokenizer."))}
    tensors: Tensors = {t.name: np.array(t.data, np.float32) for t in reader.tensors}
    change(keys, tensors)
    writer = GGUFWriter(target, keys.pop("general.architecture"))
    adders: dict[type, Any] = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string,
                               bool: writer.add_bool, list: writer.add_array}  # fmt: skip
    for name, value in keys.items():
        adders[type(value)](name, value)
    for name, tensor in tensors.items():
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def drop_two(_: Tensors, tensors: Tensors) -> None:
    del tensors["blk.1.attn_k.weight"], tensors["output_norm.weight"]


def add_two(_: Tensors, tensors: Tensors) -> None:
    tensors["blk.0.attn_q_norm.weight"] = tensors["extra.weight"] = np.zeros(256, np.float32)


def narrow(_: Tensors, tensors: Tensors) -> None:
    tensors["blk.2.ffn_up.weight"] = np.zeros((128, 256), np.float32)


def misspelled_rope(keys: Tensors, _: Tensors) -> None:
    keys["llama.rope.scaling.type"] = "ntk"


def unknown_architecture(keys: Tensors, _: Tensors) -> None:
    keys["general.architecture"] = "jamba"


def uneven_heads(keys: Tensors, _: Tensors) -> None:
    keys["llama.attention.head_count"] = [8, 8, 4]


def no_epsilon(keys: Tensors, _: Tensors) -> None:
    del keys["llama.attention.layer_norm_rms_epsilon"]


def a_zero_divisor(_: Tensors, tensors: Tensors) -> None:
    tensors["rope_freqs.weight"][3] = 0


def too_many_layers(keys: Tensors, _: Tensors) -> None:
    keys["llama.block_count"] = 1 << 31


def odd_kv_heads(keys: Tensors, _: Tensors) -> None:
    keys["llama.attention.head_count_kv"] = 3


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (drop_two, MalformedInput, "lacks 'blk.1.attn_k.weight', 'output_norm.weight'"),
        (add_two, MalformedInput, "has unexpected 'blk.0.attn_q_norm.weight', 'extra.weight'"),
        (narrow, MalformedInput, "tensor 'blk.2.ffn_up.weight' (F32, 128 × 256) should be 256 × 256"),
        (
            misspelled_rope,
            UnsupportedInput,
            "key 'llama.rope.scaling.type': is 'ntk'; known are none, linear",
        ),
        (
            unknown_architecture,
            UnsupportedInput,
            "the architecture 'jamba' is unknown; known are llama, ",
        ),
        (uneven_heads, UnsupportedInput, "key 'llama.attention.head_count': differs between layers: [4, 8]"),
        (no_epsilon, MalformedInput, "key 'llama.attention.layer_norm_rms_epsilon': is missing"),
        (
            a_zero_divisor,
            MalformedInput,
            "tensor 'rope_freqs.weight': holds a divisor that is not a positive",
        ),
        (too_many_layers, MalformedInput, "key 'llama.block_count': is 2147483648, the file has 31 tensors"),
        (
            odd_kv_heads,
            MalformedInput,
            "'llama.attention.head_count_kv': is 3, which does not divide 8 heads",
        ),
    ],
)
def test_an_error_in_a_gguf_names_its_cause(
    test_data: Path,
    tmp_path: Path,
    change: Callable[[Tensors, Tensors], None],
    kind: type[InputError],
    said: str,
) -> None:
    path = rewritten(test_data / "tiny" / "llama" / "f32.gguf", tmp_path / "changed.gguf", change)
    with pytest.raises(kind) as caught:
        load(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_the_rewritten_file_itself_is_read(test_data: Path, tmp_path: Path) -> None:
    path = rewritten(test_data / "tiny" / "llama" / "f32.gguf", tmp_path / "same.gguf", lambda *_: None)
    with load(path) as model:
        assert model.traits.n_layers == 3


@pytest.fixture
def folder(originals: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals / "llama", tmp_path / "llama"))


def configured(folder: Path, **values: object) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))
    return folder


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ({"model_type": "jamba"}, UnsupportedInput, "key 'model_type': is 'jamba'; known are llama, mistral"),
        ({"model_type": 3}, MalformedInput, "key 'model_type': is 3, expected a string"),
        ({"architectures": ["LlamaForSequenceClassification"]}, UnsupportedInput, "not LlamaForCausalLM"),
        ({"hidden_act": "relu6"}, UnsupportedInput, "key 'hidden_act': is 'relu6'; known are silu"),
        ({"hidden_size": "256"}, MalformedInput, "key 'hidden_size': is \"256\", expected an integer"),
        ({"num_attention_heads": 0}, MalformedInput, "key 'num_attention_heads': is 0, expected at least 1"),
        ({"rms_norm_eps": True}, MalformedInput, "key 'rms_norm_eps': is true, expected a number"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, UnsupportedInput, "'rope_type': is 'dynamic'"),
        ({"rope_parameters": {"rope_type": "llama3", "factor": 2.0}}, MalformedInput, "'low_freq_factor': is missing"),
        ({"rope_scaling": {"type": "linear"}}, MalformedInput, "key 'factor': is missing"),
        ({"partial_rotary_factor": 0.5}, UnsupportedInput, "this class rotates whole heads"),
        ({"quantization_config": {}}, UnsupportedInput, "quantized folders are not read"),
        ({"attention_bias": True}, MalformedInput, "lacks 'model.layers.0.self_attn.k_proj.bias'"),
        ({"num_hidden_layers": 2}, MalformedInput, "has unexpected 'model.layers.2.input_layernorm.weight'"),
        ({"num_hidden_layers": 10**9}, MalformedInput, "has 30 tensors for 1000000000 layers"),
        ({"head_dim": 64}, MalformedInput, "self_attn.k_proj.weight' (F32, 64 × 256) should be 128 × 256"),
        ({"vocab_size": 383}, MalformedInput, "'lm_head.weight' (F32, 384 × 256) should be 383 × 256"),
    ],
    ids=str,
)  # fmt: skip
def test_an_error_in_a_config_names_its_cause(
    folder: Path, values: dict[str, object], kind: type[InputError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        load(configured(folder, **values))
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(folder))


def test_missing_and_unexpected_weights_of_a_folder_are_all_named(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"], tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.extra"] = np.zeros(1, np.float32)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MalformedInput) as caught:
        load(folder)
    lacking = (
        "lacks 'model.layers.1.mlp.up_proj.weight', 'model.norm.weight' and has unexpected 'model.extra'"
    )
    assert lacking in str(caught.value)


def test_an_untied_head_must_be_there_and_a_tied_one_is_the_embedding(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(MalformedInput, match=r"lacks 'lm_head.weight'"):
        load(folder)
    with load(configured(folder, tie_word_embeddings=True)) as model:
        assert model.decoder.weights.head.weight is model.decoder.weights.embedding


def test_integer_weights_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "model.norm.weight": np.zeros(256, np.int32)}, folder / "model.safetensors")
    with pytest.raises(UnsupportedInput, match=r"'model.norm.weight': no dtype of F32, F16, BF16"):
        load(folder)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"hidden_size": NaN}'])
def test_a_config_that_is_no_json_object_is_refused(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(MalformedInput, match="JSON"):
        load(folder)


def test_buffers_of_old_exports_are_left_out_as_transformers_does(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.zeros(16, np.float32)
    save_file(tensors, folder / "model.safetensors")
    with load(folder) as model:
        assert model.logits([1, 2]).isfinite().all()


def test_a_sharded_folder_and_narrow_dtypes_are_read_as_they_are(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file as load_torch
    from safetensors.torch import save_file as save_torch

    tensors = load_torch(folder / "model.safetensors")  # every weight is a bfloat16 value
    ids = list(range(40, 80))
    with load(folder) as model:
        expected = model.logits(ids)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[:12], "model-00002-of-00002.safetensors": names[12:]}
    for file, some in files.items():
        save_torch({n: tensors[n].to(torch.bfloat16) for n in some}, folder / file)
    size = sum(2 * tensor.numel() for tensor in tensors.values())
    index = {
        "metadata": {"total_size": size},
        "weight_map": {n: file for file, some in files.items() for n in some},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with load(folder) as kept, load(folder, dequantized_bytes=0) as tiled:
        assert torch.equal(kept.logits(ids), expected)
        torch.testing.assert_close(tiled.logits(ids), expected, atol=1e-4, rtol=0)


def test_a_file_that_changes_while_it_is_used_is_an_error(test_data: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(test_data / "tiny" / "llama" / "f32.gguf", tmp_path))
    with load(path) as model:
        with path.open("r+b") as file:
            file.seek(-1, 2)
            file.write(b"\x01")
        with pytest.raises(OSError, match="changed while it was read"):
            model.logits([1, 2, 3])


def fuse_gate_and_up(_: Tensors, tensors: Tensors) -> None:
    for layer in range(3):
        gate, up = (tensors.pop(f"blk.{layer}.ffn_{which}_exps.weight") for which in ("gate", "up"))
        tensors[f"blk.{layer}.ffn_gate_up_exps.weight"] = np.concatenate([gate, up], axis=1)


def unstack_experts(_: Tensors, tensors: Tensors) -> None:
    for layer in range(3):
        for which in ("gate", "up", "down"):
            for e, expert in enumerate(tensors.pop(f"blk.{layer}.ffn_{which}_exps.weight")):
                tensors[f"blk.{layer}.ffn_{which}.{e}.weight"] = np.ascontiguousarray(expert)


def fuse_attention(_: Tensors, tensors: Tensors) -> None:
    for layer in range(3):
        parts = [tensors.pop(f"blk.{layer}.attn_{which}.weight") for which in "qkv"]
        # the biases stay separate, as in old files
        tensors[f"blk.{layer}.attn_qkv.weight"] = np.concatenate(parts)


def drop_a_dimension_of_one(_: Tensors, tensors: Tensors) -> None:
    for layer in range(3):
        tensors[f"blk.{layer}.ffn_gate_inp_shexp.weight"] = tensors[
            f"blk.{layer}.ffn_gate_inp_shexp.weight"
        ].reshape(-1)


def copy_the_head(_: Tensors, tensors: Tensors) -> None:
    tensors["output.weight"] = tensors["token_embd.weight"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("qwen2moe", fuse_gate_and_up),
        ("qwen2moe", unstack_experts),
        ("qwen2moe", fuse_attention),
        ("qwen2moe", drop_a_dimension_of_one),
        ("gemma2", copy_the_head),
    ],
)
def test_another_layout_of_the_same_weights_gives_the_same_logits(
    test_data: Path, tmp_path: Path, name: str, change: Callable[[Tensors, Tensors], None]
) -> None:
    source, ids = test_data / "tiny" / name / "f32.gguf", list(range(40, 80))
    path = rewritten(source, tmp_path / "changed.gguf", change)
    with load(source) as usual, load(path) as other:
        torch.testing.assert_close(other.logits(ids), usual.logits(ids), atol=1e-5, rtol=0)


def test_norms_of_some_layers_only_are_refused(test_data: Path, tmp_path: Path) -> None:
    def add_one(keys: Tensors, tensors: Tensors) -> None:
        keys["general.architecture"] = "command-r"
        for name in list(keys):
            keys[name.replace("llama.", "command-r.")] = keys.pop(name)
        keys["command-r.attention.layer_norm_epsilon"] = keys.pop(
            "command-r.attention.layer_norm_rms_epsilon"
        )
        del tensors["rope_freqs.weight"]
        for layer in range(3):
            del tensors[f"blk.{layer}.ffn_norm.weight"]
        for kind, heads in (("q", 8), ("k", 2)):
            tensors[f"blk.1.attn_{kind}_norm.weight"] = np.ones((heads, 32), np.float32)

    path = rewritten(test_data / "tiny" / "llama" / "f32.gguf", tmp_path / "changed.gguf", add_one)
    with pytest.raises(MalformedInput, match=r"tensor 'blk.1.attn_[qk]_norm.weight': is in 1 of 3 layers"):
        load(path)


def test_one_number_for_an_activation_applies_to_every_layer(test_data: Path, tmp_path: Path) -> None:
    """llama.cpp reads an array's entries or one number for all (`get_key_or_arr`); other lengths are rejected."""
    source, ids = test_data / "families" / "apertus" / "f32.gguf", [5, 9, 2, 70, 11, 3]

    def with_numbers(of: Callable[[float, int], Any]) -> Callable[[Tensors, Tensors], None]:
        def change(keys: Tensors, _: Tensors) -> None:
            for name, number in (("alpha_p", 0.7), ("alpha_n", 0.4), ("beta", 0.5), ("eps", -1e-6)):
                keys[f"xielu.{name}"] = of(number, keys["apertus.block_count"])

        return change

    listed = rewritten(
        source, tmp_path / "listed.gguf", with_numbers(lambda number, layers: [number] * layers)
    )
    single = rewritten(source, tmp_path / "single.gguf", with_numbers(lambda number, _: number))
    with load(listed) as many, load(single) as one:
        assert torch.equal(many.logits(ids), one.logits(ids))
    short = rewritten(source, tmp_path / "short.gguf", with_numbers(lambda number, _: [number]))
    with pytest.raises(MalformedInput, match=r"xielu\.alpha_p"):
        load(short)
