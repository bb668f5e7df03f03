"""Operations on weights between GGUF and transformers, each with its inverse right below it.

Forward is GGUF → transformers. An operation gets rows: a float32 array (n, columns) of whole units, where a unit is
the rows that must stay together (`Operation.unit_rows`, e.g. one head). So it can be applied piece by piece.
Splitting, stacking and joining need no operation: a plan expresses them as segments of rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Function = Callable[..., Rows]
Slope = Callable[[Rows], NDArray[np.float64]]


@dataclass(eq=False, slots=True)
class OperationKind:
    """An operation without its parameters: calling it with them gives an Operation.

    name, parameters: of the forward function. unit: the parameter with the number of a unit's rows; None means one row.
    bands: it can be applied to some columns of a unit, which gives some rows of the result: see `Operation.of_columns`.
    moves: it only moves values, so forward and backward are exact whatever the bits (NaNs, −0.0).
    exact: its result is as exact as its argument; if not, the result only approximates the model's original weights,
        whose dtype cannot be seen from the result's bits.
    """

    name: str
    forward: Function
    parameters: tuple[str, ...]
    unit: str | None
    moves: bool
    exact: bool = True
    bands: bool = False
    _backward: Function | None = field(default=None, repr=False)
    _slope: Slope | None = field(default=None, repr=False)

    def slope(self, function: Slope) -> Slope:
        """Decorate a function for the inverse's derivative, in float64: |d back / d written| at `back`."""
        self._slope = function
        return function

    def inverse(self, function: Function) -> Function:
        """Decorate the inverse of the operation."""
        self._backward = function
        return function

    @property
    def backward(self) -> Function:
        """The inverse; LookupError if none was declared, which a test would have found."""
        if self._backward is None:
            raise LookupError(f"the operation {self.name} has no inverse")
        return self._backward

    def __call__(self, *values: int | str) -> Operation:
        """Return the operation with parameters: numbers, or names of sizes that the planner replaces."""
        return Operation(self, MappingProxyType(dict(zip(self.parameters, values, strict=True))))


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation with its parameters, as in an OutputTensor."""

    kind: OperationKind
    parameters: Mapping[str, int | str]

    @property
    def name(self) -> str:
        """Its name, as in conversion.json."""
        return self.kind.name

    @property
    def moves(self) -> bool:
        """Whether it only moves values: `backward(forward(rows))` is `rows`, bit for bit."""
        return self.kind.moves

    @property
    def exact(self) -> bool:
        """Whether its result is as exact as its argument."""
        return self.kind.exact

    def slope(self, back: Rows) -> NDArray[np.float64]:
        """Return how much each of the inverse's results `back` changes per small change of the inverse's argument."""
        if self.kind._slope is None:
            return np.ones(back.shape)
        return self.kind._slope(back)

    @property
    def unit_rows(self) -> int:
        """The number of rows that must stay together: arrays passed to it are multiples of it."""
        return 1 if self.kind.unit is None else int(self.parameters[self.kind.unit])

    def forward(self, rows: Rows) -> Rows:
        """Apply it, GGUF → transformers; returns a new array, or a view that the caller must not keep."""
        return self.kind.forward(rows, **self.parameters)

    def backward(self, rows: Rows) -> Rows:
        """Apply the inverse, transformers → GGUF."""
        return self.kind.backward(rows, **self.parameters)

    def of_columns(self, columns: int) -> Operation:
        """Return the operation for a unit with only `columns` columns, if the kind has `bands`."""
        return Operation(self.kind, MappingProxyType({**self.parameters, "columns": columns}))

    def with_sizes(self, sizes: Mapping[str, int]) -> Operation:
        """Return the operation with sizes for the names among its parameters; KeyError for an unknown name."""
        numbers = {k: sizes[v] if isinstance(v, str) else v for k, v in self.parameters.items()}
        return Operation(self.kind, MappingProxyType(numbers))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v}' for k, v in self.parameters.items())})"


_OPERATIONS: dict[str, OperationKind] = {}

OPERATIONS: Mapping[str, OperationKind] = MappingProxyType(_OPERATIONS)


def operation(
    *, moves: bool, unit: str | None = None, exact: bool = True, bands: bool = False
) -> Callable[[Function], OperationKind]:
    """Decorate a forward function to register it as an operation; its inverse follows right below it."""

    def enter(forward: Function) -> OperationKind:
        parameters = tuple(inspect.signature(forward).parameters)[1:]
        kind = OperationKind(forward.__name__, forward, parameters, unit, moves, exact, bands)
        _OPERATIONS[kind.name] = kind
        return kind

    return enter


@operation(moves=True, unit="head_dim")
def rope_halves(w: Rows, head_dim: int) -> Rows:
    """Rows of q or k: members of rotary pairs as neighbours → half a head apart.

    w: (heads · head_dim, columns), head_dim even; the shape stays.
    Source: llama.cpp, conversion/llama.py, `permute`, which is this one's inverse.
    """
    return w.reshape(-1, head_dim // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


@rope_halves.inverse
def rope_pairs(w: Rows, head_dim: int) -> Rows:
    """Rows of q or k: members of rotary pairs half a head apart → neighbours."""
    return w.reshape(-1, 2, head_dim // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


@operation(moves=False)
def subtract_one(w: Rows) -> Rows:
    """The weight of a norm, stored as 1 + weight → the weight, in float32.

    Exact for w ≥ 0.5 (Sterbenz's lemma, and above 2 by the spacing of floats); below, one rounding.
    Source: llama.cpp, conversion/gemma.py, which adds 1 to every name that ends in norm.weight.
    """
    return w - np.float32(1)


@subtract_one.inverse
def add_one(w: Rows) -> Rows:
    """The weight of a norm → 1 + weight, in float32, as llama.cpp's converter computes it."""
    return w + np.float32(1)


@operation(moves=True, unit="rows", bands=True)
def transpose(w: Rows, rows: int, columns: int) -> Rows:
    """Transpose stacked matrices of (rows, columns), such as one per expert or head.

    w: (n · rows, columns) → (n · columns, rows).
    Source: llama.cpp, conversion/gpt_oss.py, llama4.py and deepseek.py, which transpose PyTorch's matrices.
    """
    return w.reshape(-1, rows, columns).swapaxes(1, 2).reshape(-1, rows)


@transpose.inverse
def transpose_back(w: Rows, rows: int, columns: int) -> Rows:
    """Transpose the matrices back; `w` may have any shape with their elements in order."""
    return w.reshape(-1, columns, rows).swapaxes(1, 2).reshape(-1, columns)


@operation(moves=True)
def group_columns(w: Rows, groups: int, repeats: int, width: int) -> Rows:
    """Columns of (repeats, groups) heads of `width` → (groups, repeats) heads, as transformers orders them.

    w: (n, repeats · groups · width); the shape stays.
    Source: llama.cpp, conversion/qwen.py, `_reorder_v_heads`, which is this one's inverse.
    """
    return w.reshape(len(w), repeats, groups, width).swapaxes(1, 2).reshape(w.shape)


@group_columns.inverse
def tile_columns(w: Rows, groups: int, repeats: int, width: int) -> Rows:
    """Columns of (groups, repeats) heads of `width` → (repeats, groups) heads, as ggml broadcasts a group's keys."""
    return w.reshape(len(w), groups, repeats, width).swapaxes(1, 2).reshape(w.shape)


@operation(moves=False, exact=False)
def log_negative(w: Rows) -> Rows:
    """A state's decay −exp(A_log) → A_log, in float64 and rounded once.

    The file's float32 is a rounded exponential, so A_log is restored within one float32 unit in the last place, and
    exactly if it was a bfloat16.
    Source: llama.cpp, conversion/base.py and mamba.py, where `A_log` becomes `-torch.exp(A_log)`.
    """
    return np.log(-w.astype(np.float64)).astype(np.float32)


@log_negative.inverse
def negative_exp(w: Rows) -> Rows:
    """A_log → −exp(A_log), in float64 and rounded once."""
    return (-np.exp(w.astype(np.float64))).astype(np.float32)


@log_negative.slope
def negative_exp_slope(back: Rows) -> NDArray[np.float64]:
    """The absolute derivative of −exp, which is exp."""
    return np.abs(back.astype(np.float64))
