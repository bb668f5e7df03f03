"""Reconstruct the tiny models' original folders from their GGUF files, verified by digest.

`tensors.json` has the SHA-256 of every original tensor. Each GGUF tensor is put through the inverses of what
llama.cpp's converter may have done (rows of heads un-permuted, 1 subtracted from norms, experts unstacked), and the
result with the right digest is the original: this needs no table of names, and nothing of the converter under test.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from numpy.typing import NDArray
from safetensors.numpy import save_file

Array = NDArray[np.float32]


def write_original(tiny: Path, folder: Path) -> Path:
    """Write the original of `tiny`, a folder of test_data / "tiny", into a new folder and return that."""
    folder.mkdir(parents=True)
    told = _json(tiny / "tensors.json")
    wanted = {said["sha256"]: (name, tuple(said["shape"])) for name, said in told.items()}
    config = _json(tiny / "config.json")
    heads = {config["num_attention_heads"], config["num_key_value_heads"]}
    found: dict[str, Array] = {}
    for tensor in GGUFReader(tiny / "f32.gguf").tensors:
        stored = np.array(tensor.data, np.float32).reshape(tuple(int(n) for n in tensor.shape[::-1]))
        for candidate in candidates(stored, heads):
            name, shape = wanted.get(hashlib.sha256(candidate.tobytes()).hexdigest(), ("", ()))
            if name:
                found[name] = np.ascontiguousarray(candidate.reshape(shape))
    assert found.keys() == {name for name, _ in wanted.values()}
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})
    shutil.copy(tiny / "config.json", folder)
    shutil.copy(tiny / "generation_config.json", folder)
    for file in (tiny / "tokenizer").iterdir():
        shutil.copy(file, folder)
    return folder


def candidates(stored: Array, heads: set[int]) -> Iterator[Array]:
    """All tensors that a stored one may have been made from."""
    yield stored
    if stored.ndim == 1:
        yield stored - np.float32(1)
    if stored.ndim == 3:
        yield from stored
    for count in heads:
        if stored.shape[0] % (2 * count) == 0:
            yield stored.reshape(count, -1, 2, *stored.shape[1:]).swapaxes(1, 2).reshape(stored.shape)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found
