"""Small models as repositories hold them, and what may be left of them where a loader looks."""

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
    """Another llama in so many files."""
    files = named(split_parts(parts))
    return {name: content for name, content in files.items() if isinstance(content, bytes)}


def safetensors(names: tuple[str, ...] = ("a", "b")) -> bytes:
    """Two tensors of eight bytes each, as the safetensors format lays them out."""
    rows = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * at, 8 * at + 8]}
        for at, name in enumerate(names)
    }
    head = json.dumps(rows).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + bytes(range(8 * len(names)))


def folder_files() -> dict[str, bytes]:
    """A repository of safetensors, with what belongs to it and what is never fetched."""
    return {
        "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
        "config.json": json.dumps({"model_type": "llama", "max_position_embeddings": 128}).encode(),
        "model.safetensors": safetensors(),
        "pytorch_model.bin": b"PK\x03\x04",
        "tf_model.h5": b"\x89HDF",
    }


def loadable(folder: Path) -> list[str]:
    """What a loader would take for a model, anywhere below a folder."""
    if not folder.exists():
        return []
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name.endswith(LOADABLE)
    )
