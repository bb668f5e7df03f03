"""Buffers for the pieces of a conversion: a fixed number, each reused when its last user has released it."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llorch.converter.plan.schedule import PIECE_WEIGHTS, band_weights, element_bytes, slice_weights
from llorch.converter.plan.segments import OutputTensor

Bytes = NDArray[np.uint8]

MOST_BYTES = 300 << 20  # enough for eight threads with pieces of a million weights


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory for one piece: its source bytes, the bytes to write, and float32 weights in between."""

    source: Bytes
    written: Bytes
    between: Bytes
    users: int = 0


class BufferPool:
    """Buffers that are each large enough for any piece of these outputs; thread-safe.

    count: the most buffers; fewer if that would exceed MOST_BYTES, but at least one.
    """

    def __init__(
        self, outputs: Sequence[OutputTensor], count: int, piece_weights: int = PIECE_WEIGHTS
    ) -> None:
        # Bytes that are only hashed are read in pieces of the size of a float32 piece.
        source = written = piece_weights * 4
        between = 0
        for output in outputs:
            for segment in output.segments:
                weights, quant = slice_weights(segment, piece_weights), segment.source.type
                source = max(source, weights // quant.weights * quant.block_bytes)
                weights = band_weights(segment, piece_weights)
                written = max(written, weights * element_bytes(output))
                as_stored = segment.operation is None and segment.scale is None and segment.part is None
                between = max(between, 0 if as_stored else weights * 4)
        self._free: queue.SimpleQueue[Buffer | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(max(1, min(count, MOST_BYTES // (source + written + between)))):
            self._free.put(Buffer(_memory(source), _memory(written), _memory(between)))

    def acquire(self) -> Buffer | None:
        """Wait for a free buffer; None after `close`."""
        buffer = self._free.get()
        if buffer is None:
            self.close()  # pass it on to the next waiter
        else:
            buffer.users = 1
        return buffer

    def retain(self, buffer: Buffer) -> Callable[[], None]:
        """Add a user to a buffer in use; the returned function releases it."""
        with self._lock:
            buffer.users += 1
        return functools.partial(self.release, buffer)

    def release(self, buffer: Buffer) -> None:
        """Remove a user; the last one frees the buffer."""
        with self._lock:
            buffer.users -= 1
            free = not buffer.users
        if free:
            self._free.put(buffer)

    def close(self) -> None:
        """Make every waiting or future `acquire` return None."""
        self._free.put(None)


def _memory(size: int) -> Bytes:
    return np.empty(size, np.uint8)
