"""The number of CPU cores that this process may use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

# A container's CPU limit: "QUOTA PERIOD" in microseconds (CPU time per wall time), or "max PERIOD" for no limit.
QUOTA = Path("/sys/fs/cgroup/cpu.max")


@cache
def allowed_cores() -> int:
    """Return the number of cores this process may use: its CPU affinity, limited by its cgroup v2 quota; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()[:2]
        return max(1, min(allowed, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no cgroup v2, or no limit
        return allowed
