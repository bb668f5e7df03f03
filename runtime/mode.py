"""How numbers are computed: the one choice that decides what a result can be compared with."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """A numeric mode; every result names its own.

    EXACT: float32 weights and activations, or wider. VERIFY: activations as two int8 planes, about 16 bits, times the
    packed weights as they are; logits differ from exact ones by at most 1e-6 nats. FAST: one int8 plane, as llama.cpp
    computes; by at most 1e-2 nats. Products whose error would stay in a memory are computed as `finer` says.

    Activations are int8 where a product has packed weights of integers under a scale; all else is float32 in each mode.
    """

    EXACT = "exact"
    VERIFY = "verify"
    FAST = "fast"

    @property
    def finer(self) -> Mode:
        """What products are computed in whose error goes on from token to token (`llorch.runtime.weights.FINER`)."""
        return Mode.VERIFY if self is Mode.FAST else self

    @property
    def planes(self) -> int:
        """How many int8 numbers an activation is; 0 where it stays a float32."""
        return {Mode.EXACT: 0, Mode.VERIFY: 2, Mode.FAST: 1}[self]
