"""A converted folder to plant faults in; its records are updated, so that only the fault's effect can reveal it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.safetensors import read_safetensors

Weights = NDArray[np.float32]

DEVICE = os.environ.get("LLORCH_TEST_DEVICE", "cpu")  # where the faulty folders and the sound ones are judged


@dataclass(frozen=True)
class Planted:
    """A source, and the float32 folder made from it."""

    source: Path
    folder: Path

    @classmethod
    def copied(cls, source: Path, made: Path, place: Path) -> Planted:
        """A folder of its own."""
        shutil.copytree(made, place)
        return cls(source, place)

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def write(self, name: str, document: Any) -> None:
        path = self.folder / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        self.own_up(name)

    def edit(self, name: str, **changes: Any) -> None:
        """Change keys of a JSON file; None removes one."""
        document = self.json(name) | changes
        self.write(name, {key: value for key, value in document.items() if value is not None})

    def own_up(self, name: str) -> None:
        """Record a changed file in conversion.json, so that no digest reveals the change."""
        content = (self.folder / name).read_bytes()
        path = self.folder / "conversion.json"
        record = json.loads(path.read_text())
        for row in record["files"]:
            if row["path"] == name:
                row |= {"sha256": sha256(content).hexdigest(), "size": len(content)}
        path.write_text(json.dumps(record))

    def tensor(self, name: str) -> Weights:
        """Return a tensor's weights, writable in place."""
        stored = read_safetensors(self.folder)
        tensor = stored.tensors[name]
        path = stored.parts[tensor.part].path
        return np.memmap(path, "<f4", "r+", tensor.offset, tuple(tensor.shape))

    def change(self, name: str, change: Callable[[Weights], Weights]) -> None:
        """Replace a tensor by `change` of it, in the same shape."""
        weights = self.tensor(name)
        made = np.ascontiguousarray(change(weights.copy()), np.float32)
        assert not np.array_equal(made, weights), f"{name} is as it was"
        weights[...] = made.reshape(weights.shape)
        assert isinstance(weights, np.memmap)
        weights.flush()
        self._weights_changed()

    def exchange(self, one: str, other: str) -> None:
        """Swap two tensors."""
        first, second = self.tensor(one).copy(), self.tensor(other).copy()
        self.change(one, lambda _: second)
        self.change(other, lambda _: first)

    def _weights_changed(self) -> None:
        for name in self._weight_files():
            self.own_up(name)

    def _weight_files(self) -> Iterator[str]:
        return (os.fspath(path.relative_to(self.folder)) for path in self.folder.glob("*.safetensors"))
