"""A written folder converts back to the source, and one with a single changed bit is detected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput
from llorch.converter import convert
from llorch.converter.errors import RoundTripError
from llorch.converter.plan.dtype import all_finite, rounding_error, widen
from llorch.converter.plan.plan import make_plan
from llorch.converter.plan.segments import PlannedTensor
from llorch.converter.round_trip import (
    PLAIN_WEIGHTS,
    Difference,
    require_round_trip,
    round_trip_differences,
)
from llorch.converter.schema.operations import rope_halves, subtract_one
from llorch.formats.gguf.file import Header, read_header
from llorch.formats.quants import QuantType, compiled
from llorch.formats.safetensors import read_safetensors
from llorch.formats.tokenizer import build_tokenizer
from tests.models.tiny import tiny_llama


def planned(source: Path) -> tuple[Header, tuple[PlannedTensor, ...]]:
    header = read_header(source)
    return header, make_plan(header, build_tokenizer(header.metadata)).outputs


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    source = tmp_path / "tiny.gguf"
    source.write_bytes(tiny_llama().build())
    return source


def flip(folder: Path, name: str, weight: int, bit: int) -> None:
    stored = read_safetensors(folder)
    tensor = stored.tensors[name]
    path = stored.parts[tensor.part].path
    content = bytearray(path.read_bytes())
    size = {"F32": 4, "F16": 2, "BF16": 2}[tensor.dtype]
    at = tensor.offset + weight * size + bit // 8
    content[at] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("model", ["llama", "mixtral", "phi3", "gemma2", "qwen2moe"])
@pytest.mark.parametrize("file", ["f32", "q4_k_m"])
def test_a_conversion_converts_back_to_its_source(
    test_data: Path, tmp_path: Path, model: str, file: str, dtype: str
) -> None:
    source = test_data / "tiny" / model / f"{file}.gguf"
    convert(source, tmp_path / "out", dtype=dtype)
    header, outputs = planned(source)
    differences = list(round_trip_differences(header, outputs, tmp_path / "out"))
    assert {difference.name for difference in differences} == {output.name for output in outputs}
    assert [difference for difference in differences if difference.differing] == []
    # all weights there are bfloat16 values
    exact = dtype == "float32" or (file == "f32" and dtype == "bfloat16")
    if exact:
        assert {d.worst for d in differences if d.operation is None or "subtract" not in d.operation} == {0.0}


def test_one_flipped_bit_is_one_differing_weight_at_its_place(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "out")
    header, outputs = planned(tiny)
    flip(tmp_path / "out", "model.layers.0.mlp.down_proj.weight", 5 * 64 + 7, bit=0)
    found = {d.name: d for d in round_trip_differences(header, outputs, tmp_path / "out") if d.differing}
    assert list(found) == ["model.layers.0.mlp.down_proj.weight"]
    difference = found["model.layers.0.mlp.down_proj.weight"]
    assert difference.differing == 1
    assert difference.weights == 32 * 64


def test_a_change_in_a_moved_row_is_reported_at_its_place_in_the_source(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "out", dtype="float32")
    header, outputs = planned(tiny)
    # Heads of 8 rows: row 1 of what is written is pair 1's first member, row 2 of the source.
    flip(tmp_path / "out", "model.layers.0.self_attn.q_proj.weight", 1 * 32 + 3, bit=30)
    (difference,) = round_trip_differences(
        header, outputs, tmp_path / "out", ["model.layers.0.self_attn.q_proj.weight"]
    )
    assert (difference.differing, difference.source, difference.index) == (
        1,
        "blk.0.attn_q.weight",
        2 * 32 + 3,
    )
    assert difference.operation == "rope_halves(head_dim=8)"


@pytest.mark.parametrize("index", [0, PLAIN_WEIGHTS + 9], ids=["at the beginning", "further on"])
def test_one_wrong_weight_is_found_by_compiled_dequantization(
    index: int, test_data: Path, tmp_path: Path
) -> None:
    source, name = test_data / "tiny" / "llama" / "q4_k_m.gguf", "model.layers.1.mlp.down_proj.weight"
    convert(source, tmp_path / "out")
    header, outputs = planned(source)
    flip(tmp_path / "out", name, index, bit=0)
    (found,) = round_trip_differences(header, outputs, tmp_path / "out", [name])
    assert found.weights > PLAIN_WEIGHTS
    assert (found.differing, found.index) == (1, index)


def test_a_compiled_kernel_with_the_same_error_as_the_folder_hides_nothing(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, name = test_data / "tiny" / "llama" / "q4_k_m.gguf", "model.layers.1.mlp.down_proj.weight"
    convert(source, tmp_path / "out")
    header, outputs = planned(source)
    flip(tmp_path / "out", name, 0, bit=0)
    right = compiled.dequantize_into

    def wrong(type: QuantType, raw: NDArray[np.uint8], out: NDArray[np.uint16]) -> int:
        found = right(type, raw, out)
        out[0] ^= 1
        return found

    monkeypatch.setattr(compiled, "dequantize_into", wrong)
    (found,) = round_trip_differences(header, outputs, tmp_path / "out", [name])
    assert (found.differing, found.index) == (1, 0)


def test_only_the_tensors_asked_for_are_compared(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "out")
    header, outputs = planned(tiny)
    (difference,) = round_trip_differences(header, outputs, tmp_path / "out", ["model.norm.weight"])
    assert isinstance(difference, Difference)
    assert difference.name == "model.norm.weight"


def test_a_missing_tensor_is_an_error_that_names_it(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "out")
    header, outputs = planned(tiny)
    other = [
        PlannedTensor("elsewhere", o.shape, o.dtype, tuple(replace(s, operation=None) for s in o.segments))
        for o in outputs[:1]
    ]
    with pytest.raises(MalformedInput, match=r"elsewhere.*is missing"):
        list(round_trip_differences(header, other, tmp_path / "out"))


def test_a_computed_weight_may_be_off_by_its_roundings_and_no_more(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "tiny" / "gemma2" / "f32.gguf"
    convert(source, tmp_path / "out", dtype="bfloat16")
    header, outputs = planned(source)
    flip(tmp_path / "out", "model.norm.weight", 11, bit=1)  # two units in the last place
    (difference,) = round_trip_differences(header, outputs, tmp_path / "out", ["model.norm.weight"])
    assert (difference.differing, difference.index) == (1, 11)


def test_a_wrong_inverse_is_found_before_anything_is_published() -> None:
    rows = np.arange(32, dtype=np.float32).reshape(8, 4)
    require_round_trip("q", rope_halves(8), rows, rope_halves(8).forward(rows), "F32")
    with pytest.raises(RoundTripError, match="q: the inverse of rope_halves"):
        require_round_trip("q", rope_halves(4), rows, rope_halves(8).forward(rows), "F32")
    wrong = rows - 1
    wrong[3, :2] += 0.5
    with pytest.raises(RoundTripError, match="2 weights"):
        require_round_trip("norm", subtract_one(), rows, wrong, "F32")


@pytest.mark.parametrize(
    ("dtype", "storage", "infinity", "largest"),
    [
        ("F32", np.uint32, 0x7F800000, 0x7F7FFFFF),
        ("F16", np.uint16, 0x7C00, 0x7BFF),
        ("BF16", np.uint16, 0x7F80, 0x7F7F),
    ],
)
def test_all_finite_is_right_for_every_bit_pattern(
    dtype: str, storage: type[np.unsignedinteger[np.typing.NBitBase]], infinity: int, largest: int
) -> None:
    sign = 1 << (8 * np.dtype(storage).itemsize - 1)
    for bits in (0, 1, largest, sign, sign | 1, sign | largest):
        assert all_finite(np.array([0, bits, 0], storage), dtype)
    for bits in (infinity, infinity | 1, sign - 1, sign | infinity, sign | infinity | 1, 2 * sign - 1):
        assert not all_finite(np.array([0, bits, 0], storage), dtype)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_every_number_is_within_the_rounding_error_of_its_neighbours(dtype: str) -> None:
    bits = np.arange(1 << 15, dtype=np.uint16)
    numbers = bits.view(np.float16).astype(np.float32) if dtype == "F16" else widen(bits, "BF16")
    numbers = numbers[np.isfinite(numbers)].astype(np.float64)
    half = np.diff(numbers) / 2
    assert (half <= rounding_error(numbers[1:].astype(np.float32), dtype)).all()
    assert (half >= rounding_error(numbers[1:].astype(np.float32), dtype) / 2.01).all()


def test_importing_the_converter_loads_neither_numba_nor_torch() -> None:
    import subprocess
    import sys

    code = "import sys, llorch.converter\nprint([m for m in ('numba', 'torch', 'numpy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
