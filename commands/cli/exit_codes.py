"""How an exception ends a command: an exit code, a stable reason for scripts, and one line for people."""

from __future__ import annotations

import errno
import json
import os
import re
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from llorch.base.printable import printable
from llorch.base.version import __version__

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "a check failed, a task of a batch, or a policy of the registry refused; what was written is kept",
    2: "the command line is wrong",
    3: "the input is missing, malformed or unsupported; nothing was written",
    4: "the registry cannot be used; a finished conversion is kept, and the line says how to record it",
    5: "reading or writing failed: space, permission, memory, an I/O error, or the input changed meanwhile",
    6: "the target exists, or another process is writing it",
    7: "a check could not be made for want of something; none failed",
    70: "a bug of ours: one line, which names a log",
    130: "interrupted (SIGINT)",
    143: "terminated (SIGTERM)",
}

# Exceptions by their dotted names, so that no room is imported only to handle another's failure. The first row
# that names one of an error's classes decides; an error's own `reason` attribute takes precedence over the row's.
FAILURES: Sequence[tuple[str, int, str]] = (
    ("click.exceptions.ClickException", 2, "usage"),
    ("llorch.runtime.errors.RequestError", 2, "request"),
    ("llorch.registry.errors.RefusedByPolicy", 1, "policy"),
    ("llorch.registry.errors.RefusedRequest", 3, "refused"),
    ("llorch.registry.errors.RegistryError", 4, "unusable"),
    ("llorch.base.errors.UnsupportedInput", 3, "unsupported"),
    ("llorch.base.errors.InputError", 3, "malformed"),
    ("llorch.sources.errors.ChoiceNeeded", 2, "choice"),
    ("llorch.sources.errors.Missing", 3, "missing"),
    ("llorch.sources.errors.UnsafeName", 3, "unsafe-name"),
    ("llorch.sources.errors.Denied", 5, "denied"),
    ("llorch.sources.errors.Damaged", 5, "damaged"),
    ("llorch.sources.errors.Unreachable", 5, "unreachable"),
    ("llorch.sources.errors.DestinationError", 6, "exists"),
    ("llorch.converter.errors.TargetBusy", 6, "busy"),
    ("llorch.converter.errors.TargetExists", 6, "exists"),
    ("llorch.commands.cli.exit_codes.OutputError", 5, "output"),
    ("builtins.MemoryError", 5, "memory"),
    ("builtins.OSError", 5, "io"),
)

# The errno values that mean there is no readable file at a path.
NO_SUCH_FILE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}

SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|hf_[A-Za-z0-9]{20,}")


class OutputError(OSError):
    """An output file cannot be written. Even with errno ENOENT it is exit code 5, not 3: no input is missing."""


class ChildFailed(Exception):
    """A llorch command that was run as a child process failed; `failure` is its failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Failure:
    """How a command ends when it fails.

    reason: a stable word for scripts. message: one line for people.
    """

    exit_code: int
    reason: str
    message: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Failure:
        """Return the failure in a document made by `to_json`; KeyError or TypeError for another document."""
        return cls(**document["error"])

    def to_json(self) -> dict[str, object]:
        """Return the document that --json prints instead of a result."""
        return {"error": {"reason": self.reason, "message": self.message, "exit_code": self.exit_code}}


def failure(error: Exception, command: str, arguments: Iterable[str] = ()) -> Failure:
    """Return the failure that `error` means for `command`; the traceback of an unexpected one is written to a log."""
    if isinstance(error, click.ClickException):
        page = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else command
        return Failure(2, "usage", f"{one_line(error.format_message())} (see {page} --help)")
    if isinstance(error, ChildFailed):
        return error.failure
    code, reason = exit_code_of(error)
    if code == 70:
        return Failure(code, reason, bug_line(error, command, arguments))
    if isinstance(error, MemoryError):
        return Failure(
            code, reason, f"not enough memory{memory_limit()}{one_line(f': {error}'.rstrip(': '))}"
        )
    line = os_error_line(error) if isinstance(error, OSError) else one_line(str(error))
    return Failure(code, reason, line)


def exit_code_of(error: Exception) -> tuple[int, str]:
    """Return the exit code and the reason of an error; (70, "bug") for an unexpected one."""
    classes = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    for dotted, code, reason in FAILURES:
        if dotted in classes:
            if reason == "io" and isinstance(error, OSError) and error.errno in NO_SUCH_FILE:
                return 3, "missing"
            return code, str(getattr(error, "reason", reason))
    return 70, "bug"


def one_line(text: str) -> str:
    """Return `text` on one line, control characters escaped and secrets replaced; existing escapes are kept."""
    text = SECRETS.sub("…", " ".join(text.split()))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def os_error_line(error: OSError) -> str:
    """Return `FILE: the system's message`, in lower case like every other line."""
    what = error.strerror or str(error) or type(error).__name__
    if not what[:2].isupper():  # an abbreviation stays in upper case
        what = what[:1].lower() + what[1:]
    named = [
        name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    ]
    files = " → ".join(printable(name, 200, quoted=False) for name in named)
    return one_line(f"{files}: {what}" if files else what)


def memory_limit() -> str:
    """Return the process's memory limit in words; empty if it has none or the platform cannot say."""
    try:
        import resource  # not on Windows
    except ImportError:
        return ""
    limits = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    finite = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return f" (the limit is {min(finite) >> 20} MiB)" if finite else ""


def bug_line(error: Exception, command: str, arguments: Iterable[str]) -> str:
    """Write the traceback of an unexpected error to a log, and return the line that names the log."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    try:
        log = f"the log is {printable(write_log(error, command, arguments), 200, quoted=False)}"
    except OSError as trouble:
        log = f"no log could be written: {os_error_line(trouble)}"
    except RuntimeError:  # raised by platformdirs
        log = "no log could be written: this user has no home folder"
    what = f"{type(error).__name__}{where}: {printable(str(error), 200, quoted=False)}"
    return one_line(f"this is a bug of ours: {what} ({log})")


def write_log(error: Exception, command: str, arguments: Iterable[str]) -> Path:
    """Write traceback, command line and versions to a new file in the platform's log folder; return its path."""
    import platform  # both are needed only after an unexpected error

    import platformdirs

    folder = Path(platformdirs.user_log_dir("llorch", appauthor=False))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{command}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.log"
    text = (
        f"{command} {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
        f"arguments: {json.dumps(list(arguments))}\n\n{''.join(traceback.format_exception(error))}"
    )
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as log:
        log.write(SECRETS.sub("…", text))
    return file
