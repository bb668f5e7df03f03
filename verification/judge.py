"""verify(): finds the source, makes every check of the level, and reports."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Event
from types import MappingProxyType

from llorch.base.errors import InputError, UnsupportedInput
from llorch.base.file_digests import FileDigests
from llorch.base.times import rfc3339_seconds
from llorch.base.version import __version__
from llorch.formats import read_safetensors
from llorch.formats.gguf import read_header
from llorch.verification.check import LEVELS, CannotCheck, Check
from llorch.verification.report import Report, Result, Status
from llorch.verification.subject import Subject

# Checks of what every other one needs: where one of them failed, an error of a later one has its cause there.
STRUCTURE = (
    "files.listed",
    "safetensors.structure",
    "tensors.planned",
    "config.sizes",
    "config.tied",
    "traits.structure",
)
UNFIT = re.compile(
    r"'?([^\s']+)'? (?:is missing|has shape )"
)  # as `files.listed` and `tensors.planned` say it
# They ask nothing of the readings: each takes seconds of a processor that waits for a device, or for another core.
BESIDE = ("round_trip", "files.digests", "source.digest", "tokenizer.auto", "transformers.tokens")
OF_TENSORS = ("safetensors.structure", "tensors.planned", "round_trip")  # what a pattern of names leaves
LIBRARIES, OPTIONAL = ("numpy", "tokenizers", "torch"), ("transformers",)
ROOMS = ("base", "formats", "converter", "runtime", "verification")


CheckProgress = Callable[[str, int, int], None]
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
    finished: Mapping[str, Result] = MappingProxyType({}),
    digests: FileDigests | None = None,
    progress: CheckProgress = silent,
) -> Report:
    """Judges whether `folder` is the model that the GGUF file `against` holds.

    against: by default the source that conversion.json names, if it is there and has the digest named there;
    without a source the checks that need it are skipped. level: "quick" looks at a part of a large model and
    takes seconds, "full" looks at all of it. device: where the readings are computed; "auto" is cuda if there
    and both fit, else cpu, which a warning in the log then says.
    tensors: a pattern of names, as shells have them: those are taken back, and nothing else is checked.
    just_written: whoever calls has hashed source and folder in this same run, and quick need not do it again.
    finished: by name, what was found of the same bytes before: those checks are not made. digests: of files that
    were hashed a moment ago; closed in the end. progress: told how far it is, check by check and within one.

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
    started, digests = now(), digests or FileDigests()
    source = recorded_source(path, digests) if against is None else Path(against)
    with Subject(path, source, level=level, device=device, digests=digests) as subject:
        if against is not None:
            subject.header = read_header(against)
        subject.pattern = tensors
        subject.just_written = just_written
        if tensors is None:
            subject.hash_ahead()
        from llorch.runtime import choose_device, start_device  # torch: seconds, in which files are hashed
        from llorch.verification.checks import CHECKS

        subject.device = choose_device(device)
        start_device(subject.device)
        if device == "auto":
            subject.stay_within_memory()
        if tensors is None and not finished:
            subject.open_ahead()
        checks = [check for check in CHECKS.values() if LEVELS.index(check.level) <= LEVELS.index(level)]
        if tensors is None:
            results = make(checks, subject, progress, BESIDE, finished)
        else:
            results = make([check for check in checks if check.name in OF_TENSORS], subject, progress)
    named = None if source is None else os.fspath(source)
    found = vars(subject).get("lockstep")
    curves = None if found is None else found.to_json()
    results = told_once(results)
    return Report(os.fspath(path), named, level, subject.device, started, now(), tools(), results, curves)


def make(
    checks: Sequence[Check[Subject]],
    subject: Subject,
    progress: CheckProgress,
    beside: Collection[str] = (),
    finished: Mapping[str, Result] = MappingProxyType({}),
) -> list[Result]:
    """Every check's result, in order. beside: names of those that are made in a thread, one after the other.

    finished: results of checks that are not made.
    """
    made: list[Result | Future[Result]] = []
    stopped = Event()

    def in_thread(check: Check[Subject]) -> Result:
        def unless_stopped(done: int, total: int) -> None:  # noqa: ARG001
            if stopped.is_set():
                raise CancelledError

        subject.progress = unless_stopped
        return check(subject)

    with ThreadPoolExecutor(1) as pool:
        try:
            for check in checks:
                if check.name in finished:
                    made.append(finished[check.name])
                elif check.name in beside:
                    made.append(pool.submit(in_thread, check))
                else:
                    subject.progress = partial(progress, check.name)
                    subject.progress(0, 1)
                    made.append(check(subject))
            return [one.result() if isinstance(one, Future) else one for one in made]
        except BaseException:
            stopped.set()
            subject.digests.close()
            pool.shutdown(cancel_futures=True)
            raise


def memory_needed(folder: Path) -> int | None:
    """Bytes that a verification takes at most; None of a model that is small, or of what cannot be read as one."""
    from llorch.verification.readings import sizes_of  # torch, as above

    try:
        sizes = sizes_of(read_safetensors(folder, links=True).tensors)
    except (InputError, OSError):
        return None  # the checks say it
    return None if sizes.is_small else sizes.bound


def told_once(results: Iterable[Result]) -> list[Result]:
    """The results; skipped, where an earlier check has said why nothing can be measured.

    One cause is told once: a file or tensor that lacks or does not fit, what every later check needs of the files, or
    the same trouble in the same words.
    """
    first_said, unfit = dict[str, str](), dict[str, str]()
    failed, judged = list[str](), list[Result]()
    for result in results:
        troubled = result.status in (Status.FAILED, Status.ERROR)
        if not troubled and result.status != Status.SKIPPED:
            judged.append(result)
            continue
        why = _said_before(result, first_said, unfit, failed)
        if why:
            judged.append(replace(result, status=Status.SKIPPED, value=None, where="", detail=why))
            continue
        judged.append(result)
        first_said.setdefault(result.where if result.status == Status.FAILED else result.detail, result.name)
        if troubled:
            failed.append(result.name)
        if found := UNFIT.match(result.where):
            unfit[found[1]] = result.name
    return judged


def _said_before(
    result: Result, first_said: Mapping[str, str], unfit: Mapping[str, str], failed: Sequence[str]
) -> str:
    """What to say of a result whose cause an earlier one has said; empty where none has.

    unfit: files and tensors that a check has named as missing or of another shape, and that check.
    """
    words = f"{result.where} {result.detail}"
    for name, check in unfit.items():
        if _names(words, name):
            return f"{check} says why"
    if result.status == Status.FAILED:
        return ""
    if (first := first_said.get(result.detail)) is not None:
        return f"{first} says why"
    if result.status == Status.ERROR and failed:
        structural = next((name for name in failed if name in STRUCTURE), None)
        return f"{structural} says why" if structural else f"{failed[0]} says why: {result.detail}"
    return ""


def _names(words: str, name: str) -> bool:
    """Whether some words hold the name of a file or tensor, whole and not as a part of another."""
    return name in words and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", words) is not None


def tools() -> dict[str, str]:
    """What measures, with versions. llorch.code: of the modules that a result depends on, a digest."""
    found = {"llorch": __version__, "llorch.code": code_digest(), "python": platform.python_version()}
    found |= {name: version(name) for name in LIBRARIES}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def code_digest() -> str:
    """The first digits of the SHA-256 of the modules of the rooms that a verification runs through."""
    digest, package = hashlib.sha256(), Path(__file__).parent.parent
    for room in ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def recorded_source(folder: Path, digests: FileDigests) -> Path | None:
    """The source that conversion.json names, if it is still there and still the same bytes."""
    try:
        sources = Subject(folder, None, level="quick", device="cpu", digests=digests).record["sources"]
        found = [folder / source["path"] for source in sources]
        same = all(
            path.is_file() and path.stat().st_size == source["size"] and digests.of(path) == source["sha256"]
            for path, source in zip(found, sources, strict=True)
        )
    except (CannotCheck, InputError, KeyError, TypeError, OSError):
        return None  # `files.listed` says what is wrong with the record
    return found[0] if found and same else None


def now() -> str:
    """The time, as a report has it."""
    return rfc3339_seconds(datetime.now(UTC))
