"""gpt-oss' MXFP4 experts keep their blocks: the published folders' tensors, byte for byte, in both directions."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from benchmarks.there_and_back import there_and_back
from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.converter import convert
from llorch.converter.plan.plan import make_plan
from llorch.converter.schema.block_parts import MXFP4
from llorch.formats import SafetensorsModel, read_safetensors
from llorch.formats.gguf import TensorData, read_header
from llorch.runtime import load
from llorch.verification.checks import CHECKS
from llorch.verification.report import Status
from llorch.verification.subject import Subject
from tests.converter.executed import tokens_of
from tests.converter.test_there_and_back import llama_cpp as llama_cpp  # a fixture
from tests.converter.write.test_pipeline import Source, run_job
from tests.families import logits_of

EXPERTS = "model.layers.{}.mlp.experts."
BLOCK = 17

blocks = hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(BLOCK)))


@pytest.fixture(scope="module")
def source(test_data: Path) -> Path:
    return test_data / "families" / "gptoss" / "mxfp4.gguf"


@pytest.fixture(scope="module")
def folder(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(source, tmp_path_factory.mktemp("mxfp4") / "out").folder


def bytes_of(folder: Path, name: str) -> NDArray[np.uint8]:
    stored: SafetensorsModel = read_safetensors(folder)
    with TensorData(stored) as data:
        return data.read(stored.tensors[name]).reshape(stored.tensors[name].shape)


@given(raw=blocks)
def test_every_byte_of_a_block_is_in_one_part(raw: NDArray[np.uint8]) -> None:
    back = np.zeros_like(raw)
    for part in MXFP4:
        written = part.forward(part.of_blocks(raw))
        assert written.shape == (len(raw), part.nbytes)
        back[:, part.first : part.first + part.nbytes] = part.backward(written)
    assert back.tolist() == raw.tolist()


def test_codes_are_interleaved() -> None:
    """Byte j of ggml's block holds codes j and j + 16; of a folder's, 2j and 2j + 1, the first in the low bits."""
    codes = np.arange(32) % 16
    halves = (codes[:16] | codes[16:] << 4).astype(np.uint8)[None]
    turns = (codes[0::2] | codes[1::2] << 4).astype(np.uint8)[None]
    assert MXFP4[0].forward(halves).tolist() == turns.tolist()
    assert MXFP4[0].backward(turns).tolist() == halves.tolist()


@pytest.mark.parametrize("layer", range(3))
def test_transformers_reads_from_the_blocks_what_ggml_reads_from_the_file(
    layer: int, source: Path, folder: Path
) -> None:
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors

    file = {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(source).tensors}
    gate, up, down = (file[f"blk.{layer}.ffn_{one}_exps.weight"] for one in ("gate", "up", "down"))
    expected = {
        "gate_up_proj": np.stack([gate, up], axis=2).reshape(len(gate), -1, gate.shape[2]),
        "down_proj": down,
    }
    for name, weights in expected.items():
        packed = [
            torch.from_numpy(bytes_of(folder, f"{EXPERTS.format(layer)}{name}{x}"))
            for x in ("_blocks", "_scales")
        ]
        found = convert_moe_packed_tensors(*packed, dtype=torch.float32).transpose(1, 2).contiguous().numpy()
        assert found.view(np.uint32).tolist() == np.ascontiguousarray(weights).view(np.uint32).tolist()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("piece_weights", [1, 64, 1000])
def test_pieces_of_any_size_give_the_same_files(
    piece_weights: int, threads: int, source: Path, folder: Path, tmp_path: Path
) -> None:
    header = read_header(source)
    planned = make_plan(header, tokens_of(header), keep_blocks=True)
    outputs = [output.with_dtype(output.dtype or "BF16") for output in planned.outputs]
    _, digests = run_job(Source(header, []), outputs, tmp_path, threads=threads, piece_weights=piece_weights)
    assert digests.sources == (hashlib.sha256(source.read_bytes()).hexdigest(),)
    assert digests.files == (hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),)


def test_shapes_names_and_config_are_the_published_ones(source: Path, folder: Path) -> None:
    tensors = {name: (t.dtype, t.shape) for name, t in read_safetensors(folder).tensors.items()}
    of_layer = {
        n.removeprefix(EXPERTS.format(0)): v for n, v in tensors.items() if n.startswith(EXPERTS.format(0))
    }
    assert of_layer == {
        "gate_up_proj_blocks": ("U8", (4, 192, 2, 16)),
        "gate_up_proj_scales": ("U8", (4, 192, 2)),
        "gate_up_proj_bias": ("BF16", (4, 192)),
        "down_proj_blocks": ("U8", (4, 64, 3, 16)),
        "down_proj_scales": ("U8", (4, 64, 3)),
        "down_proj_bias": ("BF16", (4, 64)),
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"] == {
        "modules_to_not_convert": [
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
        ],
        "quant_method": "mxfp4",
    }  # fmt: skip
    assert config["dtype"] == "bfloat16"
    rows = {row["name"]: row for row in json.loads((folder / "conversion.json").read_text())["tensors"]}
    assert rows[f"{EXPERTS.format(0)}down_proj_blocks"]["operation"]["name"] == "mxfp4_blocks"
    assert read_header(source).tensors["blk.0.ffn_down_exps.weight"].type.name == "MXFP4"


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_another_dtype_dequantizes(dtype: str, source: Path, tmp_path: Path) -> None:
    folder = convert(source, tmp_path / "out", dtype=dtype).folder
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    shapes = {
        n: t.shape for n, t in read_safetensors(folder).tensors.items() if "experts" in n and "bias" not in n
    }
    assert {t.dtype for t in read_safetensors(folder).tensors.values()} == {
        "BF16" if dtype == "bfloat16" else "F32"
    }
    assert shapes[f"{EXPERTS.format(2)}gate_up_proj"] == (4, 64, 192)
    assert len(shapes) == 6


def test_both_readings_of_the_blocks_compute_what_transformers_does(source: Path, folder: Path) -> None:
    import torch
    import transformers

    ids = logits_of(source.parent)[0][0].tolist()
    with load(source, rounded="bfloat16") as one, load(folder) as other:
        expected, found = one.logits(ids), other.logits(ids)
    assert torch.equal(found, expected)
    options = {"dtype": torch.float32, "attn_implementation": "eager"}
    wide = transformers.Mxfp4Config(dequantize=True)
    model = transformers.GptOssForCausalLM.from_pretrained(folder, quantization_config=wide, **options)
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0]
    assert (theirs - found).abs().max() < 1e-5


def test_one_expert_of_another_type_makes_all_of_them_floats(test_data: Path, source: Path) -> None:
    """A class has one `quantization_config` for all layers."""
    header, other = read_header(source), read_header(test_data / "families" / "gptoss" / "f32.gguf")
    name = "blk.1.ffn_up_exps.weight"
    header = replace(header, tensors={**header.tensors, name: other.tensors[name]})
    names = {output.name for output in make_plan(header, tokens_of(header), keep_blocks=True).outputs}
    assert f"{EXPERTS.format(0)}gate_up_proj" in names
    assert not any(name.endswith("_blocks") for name in names)


def test_a_scale_that_makes_weights_infinite_is_refused(source: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    shutil.copyfile(source, broken)
    tensor = read_header(source).tensors["blk.1.ffn_down_exps.weight"]
    with broken.open("r+b") as file:
        file.seek(tensor.offset + 3 * BLOCK)
        file.write(b"\xff")
    with pytest.raises(MalformedInput, match=r"blk\.1\.ffn_down_exps\.weight.*block 3 \(MXFP4\)"):
        convert(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", ["_blocks", "_scales"])
def test_one_changed_bit_of_a_block_is_detected_and_named(
    suffix: str, source: Path, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "made")
    name = f"{EXPERTS.format(1)}gate_up_proj{suffix}"
    stored = read_safetensors(tmp_path / "made")
    with stored.parts[0].path.open("r+b") as file:
        file.seek(stored.tensors[name].offset + 70)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with Subject(tmp_path / "made", source, level="quick", device="cpu") as subject:
        found = CHECKS["round_trip"](subject)
        assert found.status == Status.FAILED
        assert found.value == 1
        assert name in found.where


@pytest.mark.parametrize("method", ["gptq", "mxfp8"])
def test_a_folder_with_another_quantization_is_refused(method: str, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "made")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["quant_method"] = method
    (tmp_path / "made" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedInput, match="quantization_config"):
        load(tmp_path / "made")


@pytest.mark.slow
def test_llama_cpps_script_writes_the_same_blocks_from_the_folder(
    source: Path, tmp_path: Path, llama_cpp: Path
) -> None:
    back = read_header(there_and_back(source, tmp_path, llama_cpp, dtype="auto"))
    first = read_header(source)
    names = [name for name, tensor in first.tensors.items() if tensor.type.name == "MXFP4"]
    assert len(names) == 9
    with TensorData(first) as before, TensorData(back) as after:
        for name in names:
            assert back.tensors[name].type.name == "MXFP4"
            assert after.read(back.tensors[name]).tobytes() == before.read(first.tensors[name]).tobytes()
