"""Estimated time, memory and disk of a task, from measurements; `python -m benchmarks.fleet` repeats them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llorch.fleet import Needs


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of one core: fixed per task, per gigabyte read, and per gigabyte written."""

    fixed_s: float
    read_s_per_gb: float
    write_s_per_gb: float


# One thread of an x86-64 virtual machine, into memory: 0.26 s for 0.06 GB of folder, 1.05 s for 0.27, 3.32 s for 0.99.
CONVERSION = Cost(fixed_s=0.1, read_s_per_gb=0.5, write_s_per_gb=3.2)
# Processor seconds there: quick 14.1 s for a folder of 0.99 GB, 34.5 s for 7.6 GB; full 207 s for 7.6 GB.
VERIFICATION: Mapping[str, Cost] = {
    "none": Cost(0.0, 0.0, 0.0),
    "quick": Cost(11.0, 0.0, 3.1),
    "full": Cost(15.0, 0.0, 25.0),
}

NETWORK_S_PER_GB = 20.0  # 50 MB/s for each of several concurrent downloads

# Peak memory of a conversion of any size, and of its check, which also holds a layer and the vocabulary in float32.
CONVERSION_BYTES = 500 * 10**6
VERIFICATION_BYTES: Mapping[str, int] = {"none": 0, "quick": 1_300 * 10**6, "full": 1_600 * 10**6}

SMALL_FILES_BYTES = 50 * 10**6  # a tokenizer of a large vocabulary, and the records
GB = 1e9


def needs_of(source_bytes: int, output_bytes: int, *, is_here: bool, level: str, gpus: int) -> Needs:
    """Return the estimated needs of a conversion and its verification. is_here: the source needs no download."""
    costs = (CONVERSION, VERIFICATION[level])
    seconds = sum(
        cost.fixed_s + cost.read_s_per_gb * source_bytes / GB + cost.write_s_per_gb * output_bytes / GB
        for cost in costs
    )
    fetched = 0 if is_here else source_bytes
    return Needs(
        disk_bytes=output_bytes + SMALL_FILES_BYTES + fetched,
        memory_bytes=max(CONVERSION_BYTES, VERIFICATION_BYTES[level]),
        seconds=round(seconds + NETWORK_S_PER_GB * fetched / GB, 3),
        gpus=gpus,
    )
