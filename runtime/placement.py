"""Which layers of a model lie on which of several devices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate


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
