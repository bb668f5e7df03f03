"""Where Triton's kernels run in tests: on a GPU if there is one, else in Triton's interpreter on the processor."""

from __future__ import annotations

import os

import pytest
import torch

from llorch.runtime.blocks.linear import Numbers

INTERPRETER_SINCE = (3, 7)  # before, it asks of NumPy what 2.4 no longer does


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The device that kernels run on; a test that needs it is skipped where there is no Triton for it."""
    if torch.cuda.is_available():
        pytest.importorskip("triton")
        return torch.device("cuda")
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported
    triton = pytest.importorskip("triton", reason="Triton is not installed")
    if tuple(map(int, triton.__version__.split(".")[:2])) < INTERPRETER_SINCE:
        pytest.skip(f"Triton {triton.__version__}'s interpreter does not run with this NumPy")
    return torch.device("cpu")


@pytest.fixture
def held_on_gpu(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a device on which models are held as on a GPU; a device without a number is none."""
    held = property(lambda numbers: numbers.device.index is not None)
    monkeypatch.setattr(Numbers, "on_gpu", held)
    return f"{device.type}:0"
