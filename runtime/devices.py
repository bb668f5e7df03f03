"""Which device is meant by "auto", what it takes to begin with one, and which layers lie on which of several."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from threading import Thread

import torch


def choose_device(device: str) -> str:
    """`device`, or for "auto" cuda if it is there, else cpu: mps lacks float64 and must be asked for."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def start_device(device: str) -> None:
    """Makes the context of a CUDA device in a thread, which takes a second; what is wrong with it `load` says."""

    def use() -> None:
        with suppress(RuntimeError, AssertionError):
            torch.empty(0, device=device)

    if device.startswith("cuda"):
        Thread(target=use, daemon=True).start()


def spread(sizes: Sequence[int], free: Sequence[int]) -> list[int]:
    """For each layer the number of its device: in order, and to each device a share like its free memory.

    sizes: bytes of the layers. free: bytes of the devices.

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
    """Which layers are where, for a reader.

    >>> layers_by_device(["cuda:0", "cuda:0", "cuda:1"])
    'layers 0 to 1 on cuda:0, 2 to 2 on cuda:1'
    """
    starts = [n for n, device in enumerate(devices) if n == 0 or devices[n - 1] != device]
    ends = [*starts[1:], len(devices)]
    return "layers " + ", ".join(f"{a} to {b - 1} on {devices[a]}" for a, b in zip(starts, ends, strict=True))
