"""A task has one receipt, complete or absent, however many processes write it."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from llorch.fleet import BatchFolder

KEY = "c" * 64


def test_of_many_who_write_a_receipt_one_does(tmp_path: Path) -> None:
    wrote: list[int] = []
    start = threading.Barrier(8)

    def write(number: int) -> None:
        start.wait()
        if BatchFolder(tmp_path).put_receipt(KEY, {"status": "converted", "by": number}):
            wrote.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrote) == 1
    folder = BatchFolder(tmp_path)
    assert folder.finished() == {KEY}
    assert folder.receipt(KEY) == {"status": "converted", "by": wrote[0]}
    assert [path.name for path in (tmp_path / "receipts").iterdir()] == [f"{KEY}.json"]


def test_a_full_disk_leaves_no_half_of_a_receipt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        BatchFolder(tmp_path).put_receipt(KEY, {"status": "converted"})
    assert list((tmp_path / "receipts").iterdir()) == []


def test_a_file_system_without_links_has_receipts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    folder = BatchFolder(tmp_path)
    assert folder.put_receipt(KEY, {"status": "converted"})
    assert not folder.put_receipt(KEY, {"status": "failed"})
    assert BatchFolder(tmp_path).receipt(KEY) == {"status": "converted"}


def test_failures_are_forgotten_and_what_was_converted_is_not(tmp_path: Path) -> None:
    folder = BatchFolder(tmp_path)
    folder.put_receipt(KEY, {"status": "converted"})
    folder.put_receipt("d" * 64, {"status": "failed"})
    assert folder.forget_failures() == 1
    assert folder.finished() == {KEY}
    assert folder.receipt("d" * 64) is None
