"""Read rows of a folder's safetensors tensors, by pread: a file that shrinks gives an error, not SIGBUS."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats import Identity, SafetensorsModel, open_descriptor, read_exactly

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}


class OpenShards:
    """The open files of a model: opened at first read, and required to be the files whose headers were read."""

    def __init__(self, stored: SafetensorsModel) -> None:
        self._stored = stored
        self._open: dict[int, int] = {}
        self._opening = threading.Lock()

    def reader(self, name: str) -> Callable[[int, int], torch.Tensor]:
        """A function that reads rows [start, stop) of a tensor in its stored dtype.

        The rows of a rank-3 tensor's matrices are numbered consecutively; a vector's rows are its elements.
        """
        tensor = self._stored.tensors[name]
        columns = tensor.shape[-1:] if len(tensor.shape) > 1 else ()
        row_bytes = tensor.nbytes // math.prod(tensor.shape[: max(1, len(tensor.shape) - 1)])

        def read(start: int, stop: int) -> torch.Tensor:
            rows = torch.empty((stop - start, *columns), dtype=DTYPES[tensor.dtype])
            buffer: NDArray[np.uint8] = rows.view(torch.uint8).numpy()
            self._read(tensor.part, name, buffer.data.cast("B"), tensor.offset + start * row_bytes)
            return rows

        return read

    def whole(self, name: str) -> torch.Tensor:
        """All of a tensor, in its stored dtype."""
        shape = self._stored.tensors[name].shape
        rows = math.prod(shape[: max(1, len(shape) - 1)])
        return self.reader(name)(0, rows).view(shape)

    def bytes_of(self, name: str) -> Callable[[int, NDArray[np.uint8]], None]:
        """A thread-safe function that fills a buffer with the tensor's bytes from an offset on."""
        tensor = self._stored.tensors[name]

        def read(start: int, buffer: NDArray[np.uint8]) -> None:
            self._read(tensor.part, name, buffer.data.cast("B"), tensor.offset + start)

        return read

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _read(self, part: int, name: str, view: memoryview, at: int) -> None:
        file = self._stored.parts[part]
        with self._opening:
            if part not in self._open:
                self._open[part] = open_descriptor(file.path)
        if read_exactly(self._open[part], view, at) < len(view):
            raise MalformedInput(
                "was truncated while it was read", where=f"tensor {printable(name)}", path=file.path
            )
        if Identity.of(self._open[part]) != file.identity:
            raise OSError(0, "the file changed while it was read", os.fspath(file.path))
