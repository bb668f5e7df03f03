"""Which device is meant by "auto", and what it takes to begin with one."""

from __future__ import annotations

from contextlib import suppress
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
