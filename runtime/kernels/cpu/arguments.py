"""The calling convention of kernels: the address of a table of 64-bit integers, and a range of work items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.vector_code import INDEX, Value
from llorch.runtime.kernels.cpu.emit import Emitter

# A kernel's arguments: its table, its first item, the item after its last, and the thread's number.
TABLE, START, STOP, THREAD = range(4)
ARGUMENTS = 4


class Table:
    """The layout of a kernel's table: named 64-bit slots, which Python fills and the kernel reads."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._slots = {name: slot for slot, name in enumerate(names)}

    def fill(self, values: Mapping[str, int]) -> NDArray[np.int64]:
        """A filled table; slots without a value are 0. KeyError for an unknown name."""
        filled = [0] * len(self.names)
        for name, value in values.items():
            filled[self._slots[name]] = value
        return np.array(filled, np.int64)

    def slot(self, name: str) -> int:
        """Index of a name's slot; KeyError for an unknown name."""
        return self._slots[name]

    def read(self, emit: Emitter, name: str, element: Any = INDEX) -> Value:
        """Emit a load of a slot, in a kernel that is called with a table."""
        return emit.load(emit.arguments[TABLE], element, offset=8 * self.slot(name), align=8)


def float_bits(number: float) -> int:
    """A float32's bits, for a slot."""
    return int(np.float32(number).view(np.uint32))
