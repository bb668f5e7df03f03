"""Recurrence kernels against their definition in torch, in one piece and in several; test_programs has whole models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from llorch.runtime.kernels.cpu.library import library
from llorch.runtime.kernels.cpu.steps.recurrences import MAMBA, mamba_kernel
from llorch.runtime.kernels.cpu.steps.small_steps import TOKEN

CHANNELS = 24


@pytest.mark.parametrize("size", [16, 48])
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 5]], ids=str)
def test_mambas_state(size: int, pieces: list[int]) -> None:
    """x = exp(Δ A) x + Δ u B, y = C x + D u: models/mamba's `slow_forward`, in float64."""
    drawn = np.random.default_rng(size)
    value, step = (drawn.normal(0, 2, (9, CHANNELS)).astype(np.float32) for _ in range(2))
    into, out_of = (drawn.normal(0, 1, (9, size)).astype(np.float32) for _ in range(2))
    decay, skip = -drawn.random((CHANNELS, size), np.float32) * 3, drawn.random(CHANNELS, np.float32)
    memory, made = np.zeros((CHANNELS, size), np.float32), np.zeros((9, CHANNELS), np.float32)
    kept = np.array([0, memory.ctypes.data])
    tokens = np.array([TOKEN.fill({"cache": kept.ctypes.data})] * 9)
    kernel = library().small(f"space-of-channels-{size}", lambda p: mamba_kernel(p, size))
    first = 0
    for count in pieces:
        rows = {"value": value, "step": step, "into": into, "out_of": out_of, "target": made}
        slots = {name: array[first:].ctypes.data for name, array in rows.items()}
        slots |= {"decay": decay.ctypes.data, "skip": skip.ctypes.data, "tokens": tokens.ctypes.data}
        table = MAMBA.fill(slots | {"count": count, "channels": CHANNELS})
        for start, stop in ((0, 7), (7, CHANNELS)):
            kernel.call(table.ctypes.data, start, stop, 0)
        first += count
    expected = np.zeros((CHANNELS, size))
    for t in range(9):
        stepped = functional.softplus(torch.from_numpy(step[t]).double()).numpy()[:, None]
        expected = np.exp(stepped * decay) * expected + stepped * value[t][:, None] * into[t]
        assert np.abs(made[t] - (expected @ out_of[t] + skip * value[t])).max() < 2e-5
    assert np.abs(memory - expected).max() < 2e-5
