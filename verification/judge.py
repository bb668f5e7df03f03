"""verify(): finds the source, makes every check of the level, and reports."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from llorch.base.errors import InputError, UnsupportedInput
from llorch.base.times import rfc3339_seconds
from llorch.base.version import __version__
from llorch.formats import read_safetensors
from llorch.formats.gguf import read_header
from llorch.verification.check import LEVELS, CannotCheck
from llorch.verification.checks import CHECKS
from llorch.verification.file_digests import sha256
from llorch.verification.report import Report, Result, Status
from llorch.verification.subject import Subject

OF_TENSORS = ("safetensors.structure", "tensors.planned", "round_trip")  # what a pattern of names leaves
LIBRARIES = ("numpy", "tokenizers", "torch")


Progress = Callable[[str, int, int], None]
"""Told the name of the check that is made, and how much of it is done."""


def silent(name: str, done: int, total: int) -> None:
    """Tells nobody."""


def verify(
    folder: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    level: str = "quick",
    device: str = "cpu",
    *,
    tensors: str | None = None,
    just_written: bool = False,
    progress: Progress = silent,
) -> Report:
    """Judges whether `folder` is the model that the GGUF file `against` holds.

    against: by default the source that conversion.json names, if it is there and has the digest named there;
    without a source the checks that need it are skipped. level: "quick" looks at a part of a large model and
    takes seconds, "full" looks at all of it. device: where the readings are computed; "auto" is cuda if there
    and both fit, else cpu, which a warning in the log then says.
    tensors: a pattern of names, as shells have them: those are taken back, and nothing else is checked.
    just_written: whoever calls has hashed source and folder in this same run, and quick need not do it again.
    progress: told how far it is, check by check and within one.

    Raises OSError and InputError for a folder or source that is not there or no such thing; whatever else is
    wrong with them is in the report.

    >>> verify("folder", against="model.gguf").outcome
    'PASSED'
    """
    if level not in LEVELS:
        raise ValueError(f"level is {level!r}, expected one of {', '.join(LEVELS)}")
    path = Path(folder)
    if not path.is_dir():
        if path.exists():
            raise UnsupportedInput("is no folder: converted folders are what is verified", path=path)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    from llorch.runtime import choose_device, start_device

    started = now()
    if against is not None:
        source: Path | None = Path(against)
        read_header(against)
    else:
        source = recorded_source(path)
    chosen = choose_device(device)
    start_device(chosen)
    subject = Subject(path, source, level=level, device=chosen)
    if device == "auto":
        subject.stay_within_memory()
    with subject:
        results = []
        subject.pattern = tensors
        subject.just_written = just_written
        for check in CHECKS.values():
            if tensors is not None and check.name not in OF_TENSORS:
                continue
            if LEVELS.index(check.level) <= LEVELS.index(level):
                subject.progress = partial(progress, check.name)
                subject.progress(0, 1)
                results.append(told_once(check(subject), subject))
    named = None if source is None else os.fspath(source)
    found = vars(subject).get("lockstep")
    curves = None if found is None else found.to_json()
    return Report(os.fspath(path), named, level, subject.device, started, now(), tools(), results, curves)


def memory_needed(folder: Path) -> int | None:
    """Bytes that a verification takes at most; None of a model that is small, or of what cannot be read as one."""
    from llorch.verification.readings import sizes_of  # torch, as above

    try:
        sizes = sizes_of(read_safetensors(folder, links=True).tensors)
    except (InputError, OSError):
        return None  # the checks say it
    return None if sizes.is_small else sizes.bound


def told_once(result: Result, subject: Subject) -> Result:
    """The result; skipped, where an earlier check has said why nothing can be measured."""
    if result.status in (Status.ERROR, Status.SKIPPED) and not result.optional:
        first = subject.first_said.setdefault(result.detail, result.name)
        if result.status == Status.ERROR and subject.failed:
            return replace(
                result, status=Status.SKIPPED, detail=f"{subject.failed[0]} says why: {result.detail}"
            )
        if first != result.name:
            return replace(result, status=Status.SKIPPED, detail=f"{first} says why")
    if result.status in (Status.FAILED, Status.ERROR):
        subject.failed.append(result.name)
    return result


def tools() -> dict[str, str]:
    """What measures, with versions."""
    found = {"llorch": __version__, "python": platform.python_version()}
    return found | {name: version(name) for name in LIBRARIES}


def recorded_source(folder: Path) -> Path | None:
    """The source that conversion.json names, if it is still there and still the same bytes."""
    try:
        sources = Subject(folder, None, level="quick", device="cpu").record["sources"]
        found = [folder / source["path"] for source in sources]
        same = all(
            path.is_file() and path.stat().st_size == source["size"] and sha256(path) == source["sha256"]
            for path, source in zip(found, sources, strict=True)
        )
    except (CannotCheck, InputError, KeyError, TypeError, OSError):
        return None  # `files.listed` says what is wrong with the record
    return found[0] if found and same else None


def now() -> str:
    """The time, as a report has it."""
    return rfc3339_seconds(datetime.now(UTC))
