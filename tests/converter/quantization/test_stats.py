"""The quantization report's data: the claimed and actual types, the scales, the error against the original."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import quants
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from llorch.base.errors import MalformedInput
from llorch.converter import convert
from llorch.converter.quantization.block_scales import ScaleRange, ScaleRanges, has_scales
from llorch.converter.quantization.error import TensorError, compare_with_reference, read_reference
from llorch.converter.quantization.stats import FILE_TYPES, GUESSED, Claim, claim_of
from llorch.formats.gguf.file import Header, Tensor, read_header
from llorch.formats.gguf.metadata import Metadata, Value, ValueType
from llorch.formats.gguf.tensor_data import TensorData
from llorch.formats.quants import BY_ID, QuantType, by_name
from tests.models.tiny import VOCABULARY, WIDTH, random_llama, tiny_llama

# Where `d` is in a block, counted by hand in ggml/src/ggml-common.h.
D_AT = {
    **dict.fromkeys(("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q4_K", "Q5_K", "IQ4_NL", "IQ4_XS"), 0),
    **dict.fromkeys(("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "Q1_0", "Q2_0"), 0),
    "Q2_K": 16 + 64,
    "Q3_K": 32 + 64 + 12,
    "Q6_K": 128 + 64 + 16,
    "TQ1_0": 48 + 4,
    "TQ2_0": 64,
}


def tensor(type: QuantType, raw: NDArray[np.uint8]) -> Tensor:
    return Tensor("t", (raw.size // type.block_bytes * type.weights,), type, 0, 0, raw.size)


def seen(type: QuantType, raw: NDArray[np.uint8], *cuts: int) -> ScaleRange:
    """Count the scales of a tensor in pieces that end at `cuts` (in blocks), the last piece first."""
    ranges, edges = ScaleRanges(), [0, *sorted(cuts), raw.size // type.block_bytes]
    for first, stop in reversed([*itertools.pairwise(edges)]):
        ranges.count(tensor(type, raw), raw[first * type.block_bytes : stop * type.block_bytes])
    with TensorData(Header((), Metadata(), {})) as nothing_to_read:
        return ranges.ranges_of([tensor(type, raw)], nothing_to_read)["t"]


def expected(scales: NDArray[np.floating]) -> ScaleRange:
    magnitudes = np.abs(scales.astype(np.float64))
    there = magnitudes[magnitudes != 0]
    if not len(there):
        return ScaleRange(len(magnitudes), len(magnitudes), None, None, None)
    numbers = float(there.min()), float(np.median(there)), float(there.max())
    return ScaleRange(len(magnitudes), len(magnitudes) - len(there), *numbers)


# -- scales


def test_every_type_with_blocks_has_scales_but_the_one_that_no_file_has() -> None:
    assert {type.name for type in BY_ID.values() if has_scales(type)} == {*D_AT, "MXFP4", "NVFP4", "IQ1_M"}


@pytest.mark.parametrize("name", D_AT)
@settings(max_examples=25)
@given(st.data())
def test_minimum_median_and_maximum_are_numpys_of_the_bytes_where_d_is(
    name: str, data: st.DataObject
) -> None:
    type = by_name(name)
    scales = data.draw(
        st.lists(st.floats(-100, 100, width=16), min_size=1, max_size=40).map(lambda x: np.array(x, "<f2"))
    )
    raw = np.random.default_rng(len(scales)).integers(0, 256, (len(scales), type.block_bytes), np.uint8)
    raw[:, D_AT[name] : D_AT[name] + 2] = scales[:, None].view(np.uint8)
    cuts = data.draw(st.lists(st.integers(1, len(scales)), max_size=2, unique=True))
    assert seen(type, raw.reshape(-1), *[cut for cut in cuts if cut < len(scales)]) == expected(scales)


def test_the_scales_of_mxfp4_are_gguf_pys_powers_of_two() -> None:
    raw = np.zeros((256, 17), np.uint8)
    raw[:, 0] = np.arange(256)
    assert seen(by_name("MXFP4"), raw.reshape(-1)) == expected(
        2 * quants.MXFP4.e8m0_to_fp32_half(raw[:, 0]).astype(np.float64)
    )


def test_the_four_scales_of_an_nvfp4_block_are_gguf_pys() -> None:
    """gguf-py's UE4M3 values are those that ggml's table halves; the numbers are the same."""
    raw = np.zeros((16, 36), np.uint8)
    raw[:, :4] = np.arange(1, 65).reshape(16, 4)
    codes = np.arange(1, 65, dtype=np.uint8)
    halved = quants.NVFP4.ue4m3_to_fp32(codes).astype(np.float64)
    assert seen(by_name("NVFP4"), raw.reshape(-1)) == expected(2 * halved)


def test_the_scale_of_iq1_m_is_put_together_from_four_words() -> None:
    # By hand: 1.0 is 0x3C00 as a float16; its lowest nibble is the top one of the first word.
    raw = np.full(56, 0xFF, np.uint8)
    raw[48:] = np.array([0x0FFF, 0x0ABC, 0xC123, 0x3456], "<u2").view(np.uint8)
    assert seen(by_name("IQ1_M"), raw) == ScaleRange(1, 0, 1.0, 1.0, 1.0)


def test_blocks_of_nothing_but_zeros_have_no_range() -> None:
    assert seen(by_name("Q8_0"), np.zeros(3 * 34, np.uint8)) == ScaleRange(3, 3, None, None, None)


def test_scales_that_were_not_seen_are_read_and_give_the_same(test_data: Path, tmp_path: Path) -> None:
    """As after a crash, when finished tensors are not converted again."""
    source = test_data / "tiny" / "llama" / "q4_k_m.gguf"
    conversion = convert(source, tmp_path / "out")
    header = read_header(source)
    with TensorData(header) as data:
        some = ScaleRanges()
        some.count(
            header.tensors["blk.0.attn_q.weight"], data.read(header.tensors["blk.0.attn_q.weight"], 0, 1440)
        )
        assert some.ranges_of([*header.tensors.values()], data) == conversion.quantization.scales


# -- what is claimed, and what is there


def test_the_names_of_file_types_are_gguf_pys() -> None:
    theirs = {int(row): row.name for row in gguf.LlamaFileType if row.name != "GUESSED"}
    ours = {number: name for number, name in FILE_TYPES.items() if number in theirs}
    assert ours == {
        number: name.removeprefix("MOSTLY_").removeprefix("ALL_") for number, name in theirs.items()
    }


@pytest.mark.parametrize(
    ("type", "data", "claim"),
    [
        (ValueType.U32, 15, Claim(15, "Q4_K_M")),
        (ValueType.U32, 15 + GUESSED, Claim(15 + GUESSED, "Q4_K_M")),
        (ValueType.U32, 33, Claim(33, None)),
        (ValueType.I32, -1, Claim(-1, None)),
        (ValueType.STRING, "Q4_K_M", None),
    ],
)
def test_any_claim_is_read_and_none_is_refused(type: ValueType, data: int | str, claim: Claim | None) -> None:
    key = "general.file_type"
    assert claim_of(Metadata({key: Value(key, type, type, 0, data)})) == claim


def test_a_file_that_claims_nothing_has_no_claim() -> None:
    assert claim_of(Metadata()) is None


def test_conversion_json_has_the_report_of_a_model_counted_by_hand(tmp_path: Path) -> None:
    tiny_llama().write(tmp_path / "tiny.gguf")
    convert(tmp_path / "tiny.gguf", tmp_path / "out")
    report = json.loads((tmp_path / "out" / "conversion.json").read_text())["quantization"]
    assert report["claimed"] == {"file_type": 7, "name": "Q8_0"}
    assert report["non_finite_blocks"] == 0
    # A block is 32 weights, a float16 scale and 32 bytes. q and output are 32 × 32, k and v 16 × 32, the three
    # of the feed forward 64 × 32; the two norms are 32 float32.
    layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32
    assert report["layers"] == [
        {"name": "embedding", "weights": VOCABULARY * WIDTH, "sizes": {"Q8_0": VOCABULARY * 34}},
        {"name": "0", "weights": layer + 64, "sizes": {"Q8_0": layer // 32 * 34, "F32": 256}},
        {"name": "output", "weights": VOCABULARY * 32 + 32, "sizes": {"F32": 128, "Q8_0": VOCABULARY * 34}},
    ]
    scale = float(np.float16(1e-3))  # the writer's
    assert report["scales"]["blk.0.ffn_up.weight"] == {
        "blocks": 64, "zeros": 0, "minimum": scale, "median": scale, "maximum": scale,
    }  # fmt: skip
    assert "output_norm.weight" not in report["scales"]


@pytest.mark.parametrize("matrices", ["Q4_0", "Q5_1", "Q8_0", "F32"])
def test_the_mix_is_what_gguf_py_reads(tmp_path: Path, matrices: str) -> None:
    source = random_llama(matrices=matrices).write(tmp_path / "model.gguf")
    found = convert(source, tmp_path / "out").quantization
    theirs = gguf.GGUFReader(source).tensors
    assert {name: share.tensors for name, share in found.types.items()} == Counter(
        t.tensor_type.name for t in theirs
    )
    bits, weights = 8 * sum(int(t.n_bytes) for t in theirs), sum(int(t.n_elements) for t in theirs)
    assert found.bits_per_weight == pytest.approx(bits / weights, rel=1e-12)
    assert sum(size for layer in found.layers for size in layer.sizes.values()) == bits // 8
    assert set(found.scales) == {t.name for t in theirs if t.tensor_type.name != "F32"}


# -- the error against the original


def folders(
    tmp_path: Path, written: dict[str, NDArray[np.generic]], original: dict[str, NDArray[np.generic]]
) -> tuple[Path, Path]:
    for name, tensors in (("written", written), ("original", original)):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    return tmp_path / "written", tmp_path / "original"


def test_errors_counted_by_hand(tmp_path: Path) -> None:
    written, original = folders(
        tmp_path,
        {
            "half": np.array([3.0, 4.5], np.float32),
            "same": np.array([1.0, -2.0], np.float16),
            "from zero": np.array([0.5, 0.0], np.float32),
            "all zero": np.zeros(2, np.float32),
            "nan": np.ones(2, np.float32),
            "infinite": np.ones(2, np.float32),
            "padded": np.ones((3, 2), np.float32),
            "integers": np.ones(2, np.float32),
            "lm_head.weight": np.ones(2, np.float32),
        },
        {
            "half": np.array([3.0, 4.0], np.float32),
            "same": np.array([1.0, -2.0], np.float32),
            "from zero": np.zeros(2, np.float32),
            "all zero": np.zeros(2, np.float32),
            "nan": np.array([1.0, math.nan], np.float32),
            "infinite": np.array([math.inf, 1.0], np.float32),
            "padded": np.ones((2, 2), np.float32),
            "integers": np.ones(2, np.int64),
            "visual.weight": np.ones(2, np.float32),
        },
    )
    found = compare_with_reference(written, read_reference(original))
    assert {error.name: error for error in found.errors} == {
        "half": TensorError("half", 2, 0.1, 0.5),  # √(½²) / √(3² + 4²)
        "same": TensorError("same", 2, 0.0, 0.0),
        "from zero": TensorError("from zero", 2, None, 0.5),
        "all zero": TensorError("all zero", 2, 0.0, 0.0),
        "nan": TensorError("nan", 2, None, None),
        "infinite": TensorError("infinite", 2, None, None),
    }
    assert found.missing == ("visual.weight",)
    assert found.extra == ("lm_head.weight",)
    assert found.incomparable == {
        "padded": "its shape is [3, 2], the original's [2, 2]",
        "integers": "the original is I64",
    }
    json.dumps(found.to_json(), allow_nan=False)


def test_a_tensor_of_several_pieces_is_compared_whole(tmp_path: Path) -> None:
    was = np.ones((1 << 20) + 3, np.float32)
    now = was.copy()
    now[[5, -1]] += [0.25, -1.0]
    written, original = folders(tmp_path, {"t": now}, {"t": was})
    (error,) = compare_with_reference(written, read_reference(original)).errors
    assert error.worst == 1.0
    assert error.relative == pytest.approx(math.sqrt((0.0625 + 1) / was.size), rel=1e-12)


def test_the_error_of_a_real_quantization_is_numpys(test_data: Path, tmp_path: Path) -> None:
    files = {name: test_data / "tiny" / "llama" / f"{name}.gguf" for name in ("f32", "q4_k_m")}
    for name, file in files.items():
        convert(file, tmp_path / name, dtype="float32")
    was, now = (load_file(tmp_path / name / "model.safetensors") for name in files)
    found = compare_with_reference(
        tmp_path / "q4_k_m", read_reference(tmp_path / "f32" / "model.safetensors")
    )
    assert {error.name for error in found.errors} == set(was)
    for error in found.errors:
        distance = now[error.name].astype(np.float64) - was[error.name]
        norm = np.linalg.norm(was[error.name].astype(np.float64))
        assert error.relative == pytest.approx(np.linalg.norm(distance) / norm, rel=1e-9)
        assert error.worst == np.abs(distance).max()


def test_an_original_of_links_in_the_hubs_cache_is_read(tmp_path: Path) -> None:
    one = {"t": np.ones(2, np.float32)}
    written, original = folders(tmp_path, dict(one), dict(one))
    (original / "model.safetensors").rename(tmp_path / "blob")
    (original / "model.safetensors").symlink_to(tmp_path / "blob")
    assert compare_with_reference(written, read_reference(original)).errors == (
        TensorError("t", 2, 0.0, 0.0),
    )


def test_an_original_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedInput, match=r"has neither model\.safetensors"):
        read_reference(tmp_path)
