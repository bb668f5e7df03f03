"""Small models as in repositories, and the files that a loader would find after a failure."""

from __future__ import annotations

import json
from pathlib import Path

from tests.corpus.split import named, split_parts
from tests.models.tiny import random_llama

LOADABLE = (".gguf", ".safetensors", "config.json", "tokenizer.json")
REPOSITORY = "owner/tiny-GGUF"
FILE = "tiny-Q8_0.gguf"


def gguf() -> bytes:
    """A llama of 380 kB."""
    return random_llama().build()


def split_gguf(parts: int) -> dict[str, bytes]:
    """Return another llama split into several files."""
    files = named(split_parts(parts))
    return {name: content for name, content in files.items() if isinstance(content, bytes)}


def safetensors(names: tuple[str, ...] = ("a", "b")) -> bytes:
    """Return a safetensors file of two tensors of eight bytes each."""
    rows = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * at, 8 * at + 8]}
        for at, name in enumerate(names)
    }
    head = json.dumps(rows).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + bytes(range(8 * len(names)))


def folder_files() -> dict[str, bytes]:
    """A repository of safetensors, with the files that belong to it and files that are never fetched."""
    return {
        "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
        "config.json": json.dumps({"model_type": "llama", "max_position_embeddings": 128}).encode(),
        "model.safetensors": safetensors(),
        "pytorch_model.bin": b"PK\x03\x04",
        "tf_model.h5": b"\x89HDF",
    }


def loadable(folder: Path) -> list[str]:
    """Return the files below a folder that a loader would take for a model."""
    if not folder.exists():
        return []
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name.endswith(LOADABLE)
    )
