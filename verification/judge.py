"""verify(): find the source, run all checks of the level, and return the report."""

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

# Checks of what all others need: if one of them failed, it is the cause of a later check's error.
STRUCTURE = (
    "files.listed",
    "safetensors.structure",
    "tensors.planned",
    "config.sizes",
    "config.tied",
    "traits.structure",
)
# The wording of `files.listed` and `tensors.planned`.
UNFIT = re.compile(r"'?([^\s']+)'? (?:is missing|has shape )")
# Checks that don't use the readings; run in a thread, while the main one waits for a device or uses another core.
BESIDE = ("round_trip", "files.digests", "source.digest", "tokenizer.auto", "transformers.tokens")
OF_TENSORS = ("safetensors.structure", "tensors.planned", "round_trip")  # the checks with a pattern of names
LIBRARIES, OPTIONAL = ("numpy", "tokenizers", "torch"), ("transformers",)
ROOMS = ("base", "formats", "converter", "runtime", "verification")


CheckProgress = Callable[[str, int, int], None]
"""Called with the name of the running check, the amount done, and the total."""


def silent(name: str, done: int, total: int) -> None:
    """Ignore the progress."""


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
    """Verify that `folder` is the model in the GGUF file `against`.

    against: by default the source that conversion.json names, if it exists and has the digest given there; without a
    source the checks that need it are skipped. level: "quick" checks a part of a large model and takes seconds, "full"
    checks all of it. device: where the readings are computed; "auto" is cuda if available and both fit, else cpu, with
    a warning in the log if they don't fit. tensors: a glob pattern of names: only these tensors are compared with the
    source, and nothing else is checked. just_written: the caller has hashed source and folder in the same run, so quick
    need not do it again. finished: name → earlier result for the same bytes; these checks are not run. digests: of
    files that were just hashed; closed at the end. progress: called for each check, and within checks.

    Raises OSError and InputError for a folder or source that is missing or of another kind; any other fault is in the
    report.

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
        # torch, which takes seconds, while files are hashed
        from llorch.runtime import choose_device, start_device
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
    results = skip_repeated_causes(results)
    return Report(os.fspath(path), named, level, subject.device, started, now(), tools(), results, curves)


def make(
    checks: Sequence[Check[Subject]],
    subject: Subject,
    progress: CheckProgress,
    beside: Collection[str] = (),
    finished: Mapping[str, Result] = MappingProxyType({}),
) -> list[Result]:
    """Run the checks and return their results, in order. beside: names of those that run in a thread, one by one.

    finished: name → result of checks that are not run.
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
    """Return the most bytes of memory a verification needs; None for a small model, or a folder that can't be read."""
    from llorch.verification.readings import sizes_of  # torch, as above

    try:
        sizes = sizes_of(read_safetensors(folder, links=True).tensors)
    except (InputError, OSError):
        return None  # the checks report it
    return None if sizes.is_small else sizes.bound


def skip_repeated_causes(results: Iterable[Result]) -> list[Result]:
    """Return the results, with those changed to SKIPPED whose cause an earlier check has reported.

    So each cause is reported once: a missing or misshapen file or tensor, a structural fault that all later checks run
    into, or the same message again.
    """
    first_said, unfit = dict[str, str](), dict[str, str]()
    failed, judged = list[str](), list[Result]()
    for result in results:
        troubled = result.status in (Status.FAILED, Status.ERROR)
        if not troubled and result.status != Status.SKIPPED:
            judged.append(result)
            continue
        why = _reported_by(result, first_said, unfit, failed)
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


def _reported_by(
    result: Result, first_said: Mapping[str, str], unfit: Mapping[str, str], failed: Sequence[str]
) -> str:
    """Return the detail for a result whose cause an earlier check has reported; "" if none has.

    unfit: file or tensor that is missing or of another shape → the check that reported it.
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
    """Return whether a text contains the name of a file or tensor, not as a part of another name."""
    return name in words and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\w)", words) is not None


def tools() -> dict[str, str]:
    """Return name → version of the tools that results depend on; llorch.code is a digest of our own code."""
    found = {"llorch": __version__, "llorch.code": code_digest(), "python": platform.python_version()}
    found |= {name: version(name) for name in LIBRARIES}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@cache
def code_digest() -> str:
    """Return the first 12 hex digits of a SHA-256 over the modules of `ROOMS`."""
    digest, package = hashlib.sha256(), Path(__file__).parent.parent
    for room in ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(path.relative_to(package).as_posix().encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def recorded_source(folder: Path, digests: FileDigests) -> Path | None:
    """Return the source that conversion.json names, if it still exists with the same bytes; else None."""
    try:
        sources = Subject(folder, None, level="quick", device="cpu", digests=digests).record["sources"]
        found = [folder / source["path"] for source in sources]
        same = all(
            path.is_file() and path.stat().st_size == source["size"] and digests.of(path) == source["sha256"]
            for path, source in zip(found, sources, strict=True)
        )
    except (CannotCheck, InputError, KeyError, TypeError, OSError):
        return None  # `files.listed` reports what is wrong with the record
    return found[0] if found and same else None


def now() -> str:
    """Return the current time as in a report: RFC 3339, UTC, in seconds."""
    return rfc3339_seconds(datetime.now(UTC))
