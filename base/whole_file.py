"""Atomic file writes: readers see the old content or the new, never a part."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file beside `path` and rename it to `path`.

    A symbolic link stays, and its target is replaced. A device or pipe, such as /dev/stdout, is written to directly.
    Raises OSError, which names `path`, and then leaves no temporary file.
    """
    try:
        if path.exists() and (not path.is_file() or path.is_relative_to("/dev")):
            with path.open("wb", buffering=0) as stream:
                _write_all(stream.fileno(), content)
        else:
            _write_beside(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _write_beside(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
