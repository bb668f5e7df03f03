"""What a kernel is called with: the address of a table of 64-bit integers, and which items of its work it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llorch.formats.vector_code import INDEX, Value
from llorch.runtime.kernels.cpu.emit import Emitter

# Of a kernel's own arguments: its table, the first of its items, the first that is not its own, the thread's number.
TABLE, START, STOP, THREAD = range(4)
ARGUMENTS = 4


class Table:
    """Named slots of 64 bits: Python fills them, a kernel reads them."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self._slots = {name: slot for slot, name in enumerate(names)}

    def fill(self, values: Mapping[str, int]) -> NDArray[np.int64]:
        """The table in memory; slots without a value are 0. KeyError for a name that it does not have."""
        filled = [0] * len(self.names)
        for name, value in values.items():
            filled[self._slots[name]] = value
        return np.array(filled, np.int64)

    def slot(self, name: str) -> int:
        """Where a name's value stands; KeyError for a name that it does not have."""
        return self._slots[name]

    def read(self, emit: Emitter, name: str, element: Any = INDEX) -> Value:
        """The slot's value in a kernel that is called with a table."""
        return emit.load(emit.arguments[TABLE], element, offset=8 * self.slot(name), align=8)


def float_bits(number: float) -> int:
    """A float32 as it stands in a slot."""
    return int(np.float32(number).view(np.uint32))
