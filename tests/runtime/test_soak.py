"""Many requests one after the other release the memory that they used."""

from __future__ import annotations

import gc
import time
from itertools import count, takewhile
from pathlib import Path

import pytest

from llorch.runtime.loading import load
from llorch.runtime.measure.soak import held_bytes
from llorch.runtime.sampling import Sampling
from tests.runtime.prose import BEGINNINGS

SECONDS = 300.0
PROMPTS = 70  # ten beginnings, each up to seven times: after them all, the program of every number of tokens is kept


@pytest.mark.slow
def test_memory_stays_flat_over_five_minutes_of_requests(real_model: Path) -> None:
    with load(real_model) as model:

        def serve(seed: int) -> int:
            """Serve one request of a length of its own; return the process's memory afterwards."""
            stream = model.stream(
                BEGINNINGS[seed % 10] * (1 + seed % 7),
                max_new_tokens=4 + seed % 29,
                sampling=Sampling(temperature=1.0, top_k=40, seed=seed),
                stop=("\n\n",),
            )
            for step, _ in enumerate(stream):
                if seed % 5 == 0 and step == 2:
                    stream.cancel()
            gc.collect()
            return held_bytes()

        end = time.monotonic() + SECONDS
        settled = max(serve(seed) for seed in range(PROMPTS))
        held = [serve(seed) for seed in takewhile(lambda _: time.monotonic() < end, count(PROMPTS))]
    assert len(held) > 30
    assert max(held[-30:]) < 1.005 * settled
