"""Tensor bytes, read with pread from files that must not have changed since their header was read."""

from __future__ import annotations

import os
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf.byte_order import swap_bytes
from llorch.formats.gguf.file import Header, Part, Tensor
from llorch.formats.model_file import Identity, open_descriptor, read_exactly
from llorch.formats.safetensors import SafetensorsFile, SafetensorsModel, SafetensorsTensor


class TensorData:
    """Reads the tensor bytes of a model's files; a context manager, safe for use by many threads."""

    def __init__(self, files: Header | SafetensorsModel) -> None:
        self._parts: tuple[Part | SafetensorsFile, ...] = files.parts
        self._fds: list[int] = []

    def __enter__(self) -> TensorData:
        try:
            for part in self._parts:
                self._fds.append(open_descriptor(part.path))
            self.require_unchanged()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def read(
        self, tensor: Tensor | SafetensorsTensor, start: int = 0, stop: int | None = None
    ) -> NDArray[np.uint8]:
        """Return bytes [start, stop) of a tensor in a new array; see `read_into`."""
        buffer = np.empty((tensor.nbytes if stop is None else stop) - start, np.uint8)
        self.read_into(tensor, start, buffer)
        return buffer

    def read_into(self, tensor: Tensor | SafetensorsTensor, start: int, buffer: NDArray[np.uint8]) -> None:
        """Fill `buffer` with the tensor's bytes from `start` on, in little-endian order whatever the file's order.

        For a big-endian file, `start` and `buffer` must be whole blocks.
        """
        self.read_file_into(
            tensor.part, tensor.offset + start, buffer, where=f"tensor {printable(tensor.name)}"
        )
        if isinstance(tensor, Tensor):
            little = self.little_endian(tensor, buffer)
            if little is not buffer:
                buffer[...] = little

    def little_endian(self, tensor: Tensor, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return whole blocks from `read_file_into` in little-endian order: as they are, or swapped in a new array."""
        part = self._parts[tensor.part]
        if isinstance(part, Part) and part.byte_order == "big":
            return swap_bytes(tensor.type, raw)
        return raw

    def read_file_into(self, part: int, at: int, buffer: NDArray[np.uint8], *, where: str = "") -> None:
        """Fill `buffer` with the raw bytes of file `part` from offset `at`. MalformedInput if the file ends before."""
        done = read_exactly(self._fds[part], memoryview(buffer.data).cast("B"), at)
        if done < buffer.nbytes:
            raise MalformedInput(
                "was truncated while it was read", where=where, path=self._parts[part].path, offset=at + done
            )

    def require_unchanged(self) -> None:
        """Raise OSError if a file is not the one whose header was read; call it after the last read."""
        for part, fd in zip(self._parts, self._fds, strict=True):
            if Identity.of(fd) != part.identity:
                raise OSError(0, "the file changed while it was read", os.fspath(part.path))
