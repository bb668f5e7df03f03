"""The number of allowed cores respects a container's quota, and ignores a quota that cannot be parsed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llorch.base import cores

OURS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("100000 100000", 1), ("50000 100000", 1), ("max 100000", OURS), ("", OURS), ("99900000 100000", OURS)],
)
def test_the_smaller_of_quota_and_affinity_counts(
    text: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    monkeypatch.setattr(cores, "QUOTA", quota)
    assert cores.allowed_cores.__wrapped__() == expected
