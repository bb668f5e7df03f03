"""The choice of devices: what "auto" means, starting CUDA early, and dividing layers among several devices."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from itertools import accumulate
from threading import Thread

import torch

from llorch.runtime.blocks.linear import has_triton


def choose_device(device: str) -> str:
    """Resolve "auto" to cuda if present, else cpu: mps lacks float64 and must be asked for."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def start_device(device: str) -> None:
    """Initialise CUDA in a background thread: the context takes half a second, as does Triton hashing its own files.

    Errors are ignored here; `load` reports them.
    """

    def use() -> None:
        with suppress(Exception):
            row = torch.zeros(1, 32, device=device)
            if has_triton():
                matrix = import_module("llorch.runtime.gpu.matrix")  # Triton, in this thread
                with matrix.on_device(row.device):
                    matrix.launch.pack(row, fast=False)

    if device.startswith("cuda"):
        Thread(target=use, daemon=True).start()


def spread(sizes: Sequence[int], free: Sequence[int]) -> list[int]:
    """Index of the device for each layer: layers in order, divided in proportion to the devices' free memory.

    sizes: bytes of the layers. free: bytes free on the devices.

    >>> spread([10, 10, 10, 10], [100, 300])
    [0, 1, 1, 1]
    """
    total, room = sum(sizes) or 1, sum(free) or 1
    ends = [end / room for end in accumulate(free)]
    places, before = [], 0
    for size in sizes:
        middle = (before + size / 2) / total
        places.append(next((n for n, end in enumerate(ends) if middle < end), len(free) - 1))
        before += size
    return places


def layers_by_device(devices: Sequence[str]) -> str:
    """Which layers are on which device, as text for messages.

    >>> layers_by_device(["cuda:0", "cuda:0", "cuda:1"])
    'layers 0 to 1 on cuda:0, 2 to 2 on cuda:1'
    """
    starts = [n for n, device in enumerate(devices) if n == 0 or devices[n - 1] != device]
    ends = [*starts[1:], len(devices)]
    return "layers " + ", ".join(f"{a} to {b - 1} on {devices[a]}" for a, b in zip(starts, ends, strict=True))
