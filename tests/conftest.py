"""Where tests find what is not in the repository: made models, llama.cpp's vocabularies, one real model."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

# A shell starts what runs in its background with interrupts ignored, and that is inherited: commands under test would
# rightly ignore the ones that tests send them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def absent(what: str) -> None:
    """Skips a test for want of `what`, or fails it where the data is promised to be there."""
    if os.environ.get("LLORCH_REQUIRE_TEST_DATA") == "1":
        pytest.fail(f"{what}, and LLORCH_REQUIRE_TEST_DATA=1 says it must be")
    pytest.skip(what)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of models and vocabularies that llama.cpp made."""
    folder = Path(os.environ.get("LLORCH_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        absent(f"the test data is not at {folder} (set LLORCH_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_model() -> Path:
    """SmolLM2-135M-Instruct, Q4_1, as `make demo` and `make test` fetch it."""
    file = Path(os.environ.get("LLORCH_REAL_MODEL", REPOSITORY / "demo" / "SmolLM2-135M-Instruct.Q4_1.gguf"))
    if not file.is_file():
        absent(f"the real model is not at {file} (`make demo` fetches it)")
    return file


@pytest.fixture(scope="session")
def gemma_model() -> Path:
    """gemma-3-270m, Q4_K_M, as `make test-slow` fetches it."""
    file = Path(os.environ.get("LLORCH_GEMMA_MODEL", REPOSITORY / "demo" / "gemma-3-270m-q4_k_m.gguf"))
    if not file.is_file():
        pytest.skip(f"the real model is not at {file} (`make test-slow` fetches it)")
    return file
