"""Whatever the value of a key or config entry, reading it gives traits or an InputError of one line."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llorch.base.errors import InputError
from llorch.formats.gguf.file import Header, read_header
from llorch.formats.gguf.metadata import Metadata, Value, ValueType
from llorch.formats.gguf.tensor_data import TensorData
from llorch.runtime.from_folder import read_traits as read_folder
from llorch.runtime.from_gguf import read_traits as read_gguf
from llorch.runtime.from_gguf.families import FAMILIES
from llorch.runtime.traits import Traits
from tests.runtime.conftest import TINY

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
INTEGERS = st.sampled_from([0, 1, 2, 3, 5, 7, 8, 31, 64, 255, 256, 2**16, 2**31 - 1, 2**32 - 1])
FLOATS = st.floats(width=32)
NAMES = st.sampled_from(
    ["context_length", "embedding_length", "block_count", "attention.head_count", "attention.head_count_kv",
     "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "attention.sliding_window",
     "attention.sliding_window_pattern", "rope.dimension_count", "rope.freq_base", "rope.freq_base_swa",
     "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.attn_factor",
     "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.yarn_ext_factor", "rope.scale_linear",
     "expert_count", "expert_used_count", "attn_logit_softcapping", "final_logit_softcapping", "logit_scale"]
)  # fmt: skip
VALUES = (
    st.tuples(st.just(ValueType.U32), INTEGERS)
    | st.tuples(st.just(ValueType.I32), st.integers(-(2**31), 2**31 - 1))
    | st.tuples(st.just(ValueType.F32), FLOATS)
    | st.tuples(st.just(ValueType.BOOL), st.booleans())
    | st.tuples(
        st.just(ValueType.STRING), st.sampled_from(["none", "linear", "yarn", "longrope", "su", "\n"])
    )
    | st.tuples(st.just(ValueType.ARRAY), st.lists(INTEGERS, max_size=8))
)
REPEATED = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def require_refused_or_usable(read: Callable[[], Traits]) -> None:
    """Require an InputError of one line, or traits that a decoder can compute with."""
    try:
        traits = read()
    except InputError as error:
        message = str(error)
    else:
        require_usable(traits)
        return
    assert "\n" not in message


def require_usable(traits: Traits) -> None:
    """Require traits that a decoder can compute with."""
    numbers = [traits.norm_eps, traits.attention_scale, traits.embedding_scale, traits.residual_scale]
    assert all(math.isfinite(number) for number in [*numbers, traits.logit_scale])
    assert traits.heads % traits.kv_heads == 0
    assert len(traits.windows) == len(traits.ropes) == traits.n_layers
    for rope in traits.ropes:
        if rope is not None:
            assert 2 * len(rope.frequencies) == rope.n_rot <= traits.head_dim
            assert all(math.isfinite(frequency) for frequency in (*rope.frequencies, rope.scale))


@pytest.mark.parametrize("name", TINY)
@REPEATED
@given(changes=st.dictionaries(NAMES, VALUES, min_size=1, max_size=3))
def test_any_gguf_keys(test_data: Path, name: str, changes: dict[str, tuple[ValueType, object]]) -> None:
    header = read_header(test_data / "tiny" / name / "f32.gguf")
    architecture = header.metadata.text("general.architecture")
    values = dict(header.metadata)
    for short, (type, data) in changes.items():
        key, element = f"{architecture}.{short}", ValueType.U32 if type is ValueType.ARRAY else type
        stored = np.array(data, np.uint32) if type is ValueType.ARRAY else data
        values[key] = Value(key, type, element, 0, stored)  # type: ignore[arg-type]
    require_refused_or_usable(lambda: read_with(header, values))


def read_with(header: Header, values: dict[str, Value]) -> Traits:
    with TensorData(header) as data:
        return read_gguf(replace(header, metadata=Metadata(values)), data)[0]


@pytest.mark.parametrize("architecture", FAMILIES)
def test_any_other_architectures_name_over_a_models_tensors(test_data: Path, architecture: str) -> None:
    header = read_header(test_data / "tiny" / "llama" / "f32.gguf")
    values = {key.replace("llama.", f"{architecture}."): value for key, value in header.metadata.items()}
    name = "general.architecture"
    values[name] = Value(name, ValueType.STRING, ValueType.STRING, 0, architecture)
    if architecture in ("llama", "exaone", "minicpm", "mistral3"):  # the same tensors and keys
        require_usable(read_with(header, values))
    else:  # other tensors, or a required key is missing
        with pytest.raises(InputError):
            read_with(header, values)


@pytest.fixture(scope="module")
def folders(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies whose configs may be overwritten."""
    return Path(shutil.copytree(originals, tmp_path_factory.mktemp("hostile") / "folders"))


@pytest.mark.parametrize("name", TINY)
@REPEATED
@given(data=st.data())
def test_any_config_values(originals: Path, folders: Path, name: str, data: st.DataObject) -> None:
    config = json.loads((originals / name / "config.json").read_text())
    parts = [config] + [part for part in config.values() if isinstance(part, dict)]
    for _ in range(data.draw(st.integers(1, 2))):
        part = data.draw(st.sampled_from(parts))
        part[data.draw(st.sampled_from(sorted(part)))] = data.draw(ANY_JSON | INTEGERS)
    (folders / name / "config.json").write_text(json.dumps(config))
    require_refused_or_usable(lambda: read_folder(folders / name).traits)
