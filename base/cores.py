"""How many cores this process may use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

QUOTA = Path(
    "/sys/fs/cgroup/cpu.max"
)  # a container's share: microseconds of cores in so many of the clock, or "max"


@cache
def allowed_cores() -> int:
    """At least one, by this process's affinity, where there is such a thing, and its control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()[:2]
        return max(1, min(allowed, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such group, or no limit
        return allowed
