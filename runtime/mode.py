"""The numeric mode: how products are computed, which decides what a result can be compared with."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """A numeric mode; every result names its own.

    EXACT: float32 weights and activations, or wider. VERIFY: activations as two int8 planes, about 16 bits, times the
    packed weights; logits differ from exact ones by at most 1e-6 nats. FAST: one int8 plane, as in llama.cpp; logits
    differ by at most 1e-2 nats. Products whose error adds up in a recurrent state are computed as `finer` says.

    Activations are int8 only in products with packed integer weights under a scale; everything else is float32.
    """

    EXACT = "exact"
    VERIFY = "verify"
    FAST = "fast"

    @property
    def finer(self) -> Mode:
        """The mode for products whose error is carried from token to token (`llorch.runtime.weights.FINER`)."""
        return Mode.VERIFY if self is Mode.FAST else self

    @property
    def planes(self) -> int:
        """Number of int8 values per activation; 0 if it stays float32."""
        return {Mode.EXACT: 0, Mode.VERIFY: 2, Mode.FAST: 1}[self]
