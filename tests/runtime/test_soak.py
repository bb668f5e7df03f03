"""Many requests one after the other release the memory that they used."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from llorch.runtime.loading import load
from llorch.runtime.sampling import Sampling
from tests.runtime.prose import BEGINNINGS

SECONDS = 300.0


@pytest.mark.slow
def test_memory_stays_flat_over_five_minutes_of_requests(real_model: Path) -> None:
    process = psutil.Process(os.getpid())
    with load(real_model) as model:

        def serve(seed: int) -> int:
            """Serve one request of a length of its own; return the process's memory afterwards."""
            stream = model.stream(
                BEGINNINGS[seed % 10] * (1 + seed % 7),
                max_new_tokens=4 + seed % 29,
                sampling=Sampling(temperature=1.0, top_k=40, seed=seed),
                stop=("\n\n",),
            )
            for count, _ in enumerate(stream):
                if seed % 5 == 0 and count == 2:
                    stream.cancel()
            gc.collect()
            return int(process.memory_info().rss)

        settled = max(serve(seed) for seed in range(30))
        end, held, seed = time.monotonic() + SECONDS, [], 30
        while time.monotonic() < end:
            held.append(serve(seed))
            seed += 1
    assert len(held) > 30
    assert max(held[-30:]) < 1.02 * settled
