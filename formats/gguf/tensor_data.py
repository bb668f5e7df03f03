"""The bytes of tensors: by pread into our own buffers, from files that must stay the ones whose header was read."""

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
    """Reads tensor bytes of a model's files; a context manager, safe for many threads at once."""

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
        """Bytes [start, stop) of a tensor, in a new array; as in `read_into`."""
        buffer = np.empty((tensor.nbytes if stop is None else stop) - start, np.uint8)
        self.read_into(tensor, start, buffer)
        return buffer

    def read_into(self, tensor: Tensor | SafetensorsTensor, start: int, buffer: NDArray[np.uint8]) -> None:
        """Fills `buffer` with the tensor's bytes from `start` on, little-endian whatever the file is.

        Of a tensor in a big-endian file, `start` and `buffer` are whole blocks.
        """
        self.read_file_into(
            tensor.part, tensor.offset + start, buffer, where=f"tensor {printable(tensor.name)}"
        )
        if isinstance(tensor, Tensor):
            little = self.little_endian(tensor, buffer)
            if little is not buffer:
                buffer[...] = little

    def little_endian(self, tensor: Tensor, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Whole blocks as `read_file_into` gave them: the same array, or of a big-endian file a new one."""
        part = self._parts[tensor.part]
        if isinstance(part, Part) and part.byte_order == "big":
            return swap_bytes(tensor.type, raw)
        return raw

    def read_file_into(self, part: int, at: int, buffer: NDArray[np.uint8], *, where: str = "") -> None:
        """Fills `buffer` with the bytes of one of the files from byte `at` on, whatever they are."""
        done = read_exactly(self._fds[part], memoryview(buffer.data).cast("B"), at)
        if done < buffer.nbytes:
            raise MalformedInput(
                "was truncated while it was read", where=where, path=self._parts[part].path, offset=at + done
            )

    def require_unchanged(self) -> None:
        """OSError if a file is no longer the one whose header was read: to be called after the last byte."""
        for part, fd in zip(self._parts, self._fds, strict=True):
            if Identity.of(fd) != part.identity:
                raise OSError(0, "the file changed while it was read", os.fspath(part.path))
