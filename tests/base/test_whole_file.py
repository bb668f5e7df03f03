"""write_whole: what remains if it fails, and what is never replaced."""

from __future__ import annotations

import os
import resource
import signal
import stat
import threading
from pathlib import Path

import pytest

from llorch.base.whole_file import write_whole


def test_a_file_is_created_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    for content in (b"first", b"second"):
        write_whole(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_file_as_it_was_and_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(b"before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            write_whole(path, bytes(4096))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert raised.value.filename == str(path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_keeps_its_target(tmp_path: Path) -> None:
    link, target = tmp_path / "latest.html", tmp_path / "kept" / "report.html"
    target.parent.mkdir()
    link.symlink_to(target)
    write_whole(link, b"page")
    assert link.is_symlink()
    assert target.read_bytes() == b"page"


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, bytes(100_000))
    reader.join()
    assert read == [bytes(100_000)]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("place", ["none/report.html", "."])
def test_an_impossible_path_is_an_error_that_names_it(tmp_path: Path, place: str) -> None:
    with pytest.raises(OSError) as raised:
        write_whole(tmp_path / place, b"page")
    assert raised.value.filename == str(tmp_path / place)
