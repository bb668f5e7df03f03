"""Which device is meant by "auto"."""

from __future__ import annotations

import torch


def choose_device(device: str) -> str:
    """`device`, or for "auto" cuda if it is there, else cpu: mps lacks float64 and must be asked for."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"
