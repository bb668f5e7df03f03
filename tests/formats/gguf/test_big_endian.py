"""A big-endian file gives the same values and blocks as the little-endian file it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llorch.base.errors import UnsupportedInput
from llorch.formats.gguf.file import read_header
from llorch.formats.gguf.tensor_data import TensorData
from llorch.formats.quants import BY_ID
from tests.models.gguf_writer import Model
from tests.models.tiny import tiny_llama

# Where the numbers of 2 and 4 bytes stand in a block: (first byte, width). Source: ggml/src/ggml-common.h; for
# Q4_0, Q8_0, Q4_K, Q6_K, Q1_0 and TQ2_0 also gguf-py, scripts/gguf_convert_endian.py.
WIDE = {
    "F32": [(0, 4)],
    "F16": [(0, 2)],
    "BF16": [(0, 2)],
    "F64": [(0, 8)],
    "I8": [],
    "I16": [(0, 2)],
    "I32": [(0, 4)],
    "I64": [(0, 8)],
    "Q4_0": [(0, 2)],
    "Q4_1": [(0, 2), (2, 2)],
    "Q8_0": [(0, 2)],
    "Q8_1": [(0, 2), (2, 2)],
    "Q2_K": [(80, 2), (82, 2)],
    "Q4_K": [(0, 2), (2, 2)],
    "Q5_K": [(0, 2), (2, 2)],
    "Q6_K": [(208, 2)],
    "Q8_K": [(0, 4)] + [(260 + 2 * n, 2) for n in range(16)],
    "IQ4_NL": [(0, 2)],
    "IQ4_XS": [(0, 2), (2, 2)],
    "TQ1_0": [(52, 2)],
    "TQ2_0": [(64, 2)],
    "MXFP4": [],
    "NVFP4": [],
    "Q1_0": [(0, 2)],
    "Q2_0": [(0, 2)],
}


def test_every_type_is_swappable_or_refused(tmp_path: Path) -> None:
    for type in BY_ID.values():
        model = Model(order=">").tensor("x", [type.weights], type.id, data=bytes(type.block_bytes))
        path = model.write(tmp_path / "m.gguf")
        if type.name in WIDE:
            assert read_header(path).tensors["x"].type is type
        else:
            with pytest.raises(UnsupportedInput, match=f"'x': has the type {type.name} in a big-endian file"):
                read_header(path)


@pytest.mark.parametrize("name", WIDE)
def test_blocks_are_swapped_number_by_number(name: str, tmp_path: Path) -> None:
    type = next(type for type in BY_ID.values() if type.name == name)
    blocks = np.random.default_rng(type.id).integers(0, 256, (7, type.block_bytes), np.uint8)
    big = blocks.copy()
    for first, width in WIDE[name]:
        big[:, first : first + width] = blocks[:, first : first + width][:, ::-1]
    model = Model(order=">").tensor("x", [type.weights, 7], type.id, data=big.tobytes())
    header = read_header(model.write(tmp_path / "m.gguf"))
    tensor = header.tensors["x"]
    with TensorData(header) as data:
        assert data.read(tensor).tobytes() == blocks.tobytes()
        part = data.read(tensor, 2 * type.block_bytes, 5 * type.block_bytes)
        assert part.tobytes() == blocks[2:5].tobytes()
        raw = np.empty(tensor.nbytes, np.uint8)
        data.read_file_into(0, tensor.offset, raw)
        assert raw.tobytes() == big.tobytes(), "a digest of the file is of what is in the file"
        assert data.little_endian(tensor, raw).tobytes() == blocks.tobytes()
        assert raw.tobytes() == big.tobytes(), "what was read stays as it was read"


def test_a_whole_model_reads_the_same(tmp_path: Path) -> None:
    little, big = tiny_llama(), tiny_llama()
    big.order = ">"
    for row in big.tensors:
        blocks = np.frombuffer(row.data, np.uint8).reshape(-1, 4 if row.type == 0 else 34).copy()
        width = 4 if row.type == 0 else 2
        blocks[:, :width] = blocks[:, :width][:, ::-1].copy()
        row.data = blocks.tobytes()
    one = read_header(little.write(tmp_path / "little.gguf"))
    two = read_header(big.write(tmp_path / "big.gguf"))
    assert (
        one.metadata.texts("tokenizer.ggml.tokens").tolist()
        == two.metadata.texts("tokenizer.ggml.tokens").tolist()
    )
    assert one.metadata.decimal("llama.attention.layer_norm_rms_epsilon") == 1e-5
    assert two.metadata.decimal("llama.attention.layer_norm_rms_epsilon") == 1e-5
    types = two.metadata.integers("tokenizer.ggml.token_type")
    assert types.tolist() == one.metadata.integers("tokenizer.ggml.token_type").tolist()
    with TensorData(one) as a, TensorData(two) as b:
        for name, tensor in one.tensors.items():
            assert two.tensors[name].shape == tensor.shape
            assert a.read(tensor).tobytes() == b.read(two.tensors[name]).tobytes()
