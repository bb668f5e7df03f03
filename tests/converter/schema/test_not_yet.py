"""Known architectures that are not converted: refused in one line that says what they are, and in no table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import MODEL_ARCH_NAMES, GGUFWriter

from llorch.base.errors import UnsupportedInput
from llorch.converter import convert
from llorch.converter.architectures import architectures
from llorch.converter.schema.not_yet import KINDS, PARTLY, TYPES
from tests.models.from_transformers import _add
from tests.models.vocabularies import byte_level

NAMES = [(name, kind.what) for kind in KINDS for name in kind.names]


@pytest.mark.parametrize(("name", "what"), NAMES)
def test_an_architecture_is_refused_by_what_it_is(name: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput) as refusal:
        convert(written(tmp_path, name), tmp_path / "out")
    assert what in str(refusal.value)
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_is_refused_by_what_it_is(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput) as refusal:
        convert(written(tmp_path, "llama", kind), tmp_path / "out")
    assert TYPES[kind] in str(refusal.value)


def test_a_file_that_fits_no_class_of_a_known_name_is_refused_by_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedInput) as refusal:
        convert(written(tmp_path, "baichuan", layers=40), tmp_path / "out")
    assert PARTLY["baichuan"] in str(refusal.value)
    assert PARTLY.keys() <= {a.gguf for a in architectures()}


def test_every_name_of_llama_cpp_is_converted_or_refused_by_what_it_is() -> None:
    known = {a.gguf for a in architectures()} | {name for name, _ in NAMES}
    assert set(MODEL_ARCH_NAMES.values()) - known - {"mmproj"} == set()


def test_no_converted_architecture_is_refused() -> None:
    assert {a.gguf for a in architectures()}.isdisjoint({name for name, _ in NAMES})


def written(folder: Path, architecture: str, kind: str = "model", layers: int = 0) -> Path:
    path = folder / "model.gguf"
    writer = GGUFWriter(path, architecture)
    writer.add_type(kind)
    writer.add_block_count(layers)
    for key, value in byte_level().items():
        _add(writer, key, value)
    writer.add_tensor("some.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
