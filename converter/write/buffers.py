"""Memory for the pieces of a conversion: a fixed number of rooms, each used again when its last user is done."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llorch.converter.plan.schedule import PIECE_WEIGHTS, element_bytes, slice_weights
from llorch.converter.plan.tensors import OutputTensor

Bytes = NDArray[np.uint8]


@dataclass(slots=True, eq=False)
class Room:
    """Memory for one piece: its source bytes, the bytes to write, and float32 weights on the way there."""

    source: Bytes
    written: Bytes
    between: Bytes
    users: int = 0


class Rooms:
    """`count` rooms, each large enough for any piece of these outputs; safe for many threads."""

    def __init__(
        self, outputs: Sequence[OutputTensor], count: int, piece_weights: int = PIECE_WEIGHTS
    ) -> None:
        # What only passes through is read in as many bytes as a piece of float32 has.
        source = written = piece_weights * 4
        between = 0
        for output in outputs:
            for segment in output.segments:
                weights, quant = slice_weights(output, segment, piece_weights), segment.source.type
                source = max(source, weights // quant.weights * quant.block_bytes)
                written = max(written, weights * element_bytes(output))
                as_stored = output.operation is None and segment.scale is None
                between = max(between, 0 if as_stored else weights * 4)
        self._free: queue.SimpleQueue[Room | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        for _ in range(count):
            self._free.put(Room(_memory(source), _memory(written), _memory(between)))

    def take(self) -> Room | None:
        """A free room, as soon as there is one; None after `close`."""
        room = self._free.get()
        if room is None:
            self.close()  # for whoever waits behind us
        else:
            room.users = 1
        return room

    def lend(self, room: Room) -> Callable[[], None]:
        """One user more for a room in use, who calls what is returned when done."""
        with self._lock:
            room.users += 1
        return functools.partial(self.release, room)

    def release(self, room: Room) -> None:
        """One user less; the last one frees the room."""
        with self._lock:
            room.users -= 1
            free = not room.users
        if free:
            self._free.put(room)

    def close(self) -> None:
        """Whoever waits for a room gets None."""
        self._free.put(None)


def _memory(size: int) -> Bytes:
    return np.empty(size, np.uint8)
