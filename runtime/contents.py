"""Describe a file that the runtime cannot load as a model: types, sizes and keys, from headers alone."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llorch.base.errors import InputError
from llorch.formats import read_safetensors
from llorch.formats.gguf import read_header
from llorch.runtime.description import StoredTensor, Totals, TypeTotal, totals_by_type

CONFIGS = ("config.json", "adapter_config.json")
ADAPTER = "adapter_model.safetensors"
GGUF = b"GGUF"


@dataclass(frozen=True, slots=True)
class Contents(Totals):
    """Tensors and keys as stored.

    architecture: what the file names, or "". types: the largest first. keys: name → value as text; an array as its
    length and element type.
    """

    path: Path
    format: str
    architecture: str
    types: tuple[TypeTotal, ...]
    keys: Mapping[str, str]


def describe_contents(path: str | os.PathLike[str]) -> Contents | None:
    """Describe a GGUF file, a safetensors file or a folder; None for anything else, and for malformed files."""
    file = Path(path)
    try:
        if file.is_dir():
            return _describe_folder(file)
        if file.suffix == ".safetensors":
            return _describe_safetensors(file, file, {})
        with file.open("rb") as opened:
            is_gguf = opened.read(len(GGUF)) == GGUF
        return _describe_gguf(file) if is_gguf else None
    except (InputError, OSError, ValueError):
        return None


def _describe_gguf(path: Path) -> Contents:
    header = read_header(path)
    tensors = [StoredTensor(t.name, t.type.name, t.shape, t.nbytes) for t in header.tensors.values()]
    keys = {
        key: str(value.data)
        if isinstance(value.data, int | float | str)
        else f"{len(value.data)} of {value.element.name.lower()}"
        for key, value in header.metadata.items()
    }
    return Contents(path, "gguf", keys.get("general.architecture", ""), totals_by_type(tensors), keys)


def _describe_folder(folder: Path) -> Contents | None:
    config = next((folder / name for name in CONFIGS if (folder / name).is_file()), None)
    keys = {} if config is None else json.loads(config.read_bytes())
    if not isinstance(keys, dict):
        return None
    stored = folder / ADAPTER
    return _describe_safetensors(folder, stored if stored.is_file() else folder, keys)


def _describe_safetensors(path: Path, stored: Path, keys: Mapping[str, object]) -> Contents:
    tensors = [
        StoredTensor(t.name, t.dtype, t.shape, t.nbytes)
        for t in read_safetensors(stored, links=True).tensors.values()
    ]
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in keys.items()}
    architecture = values.get("model_type") or values.get("peft_type") or ""
    return Contents(path, "safetensors", architecture, totals_by_type(tensors), values)
