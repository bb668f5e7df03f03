"""What an error is to whoever called a command: an exit code, a stable word, and one line."""

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

# Exceptions by their dotted names, so that no room is loaded only to say that another one failed. The first
# row that names one of an error's classes decides; an error's own `reason` is a better word than the row's.
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

# How the system says that a path leads to no file that could be read.
NO_SUCH_FILE = {errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}

SECRETS = re.compile(r"(?<=://)[^/@\s]+(?=@)|hf_[A-Za-z0-9]{20,}")


class OutputError(OSError):
    """The place that is to be written cannot be, whatever the system's word for it: no input is missing."""


class ChildFailed(Exception):
    """Another command of ours, started as a process, failed; `failure` is how that one ended."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Failure:
    """How a command ends when it cannot do what it was asked.

    reason: a word that stays, for scripts. message: one line, whatever the error held.
    """

    exit_code: int
    reason: str
    message: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Failure:
        """The failure of which `to_json` made this document; KeyError or TypeError when none did."""
        return cls(**document["error"])

    def to_json(self) -> dict[str, object]:
        """The document that --json gives instead of a result."""
        return {"error": {"reason": self.reason, "message": self.message, "exit_code": self.exit_code}}


def failure(error: Exception, command: str, arguments: Iterable[str] = ()) -> Failure:
    """What `error` means for the caller of `command`; what nobody foresaw is written to a log."""
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
    """The exit code of an error, and the word for scripts; 70 for one that nobody foresaw."""
    classes = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    for dotted, code, reason in FAILURES:
        if dotted in classes:
            if reason == "io" and isinstance(error, OSError) and error.errno in NO_SUCH_FILE:
                return 3, "missing"
            return code, str(getattr(error, "reason", reason))
    return 70, "bug"


def one_line(text: str) -> str:
    """`text` without line ends, control characters and secrets; escapes that are in it already stay."""
    text = SECRETS.sub("…", " ".join(text.split()))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def os_error_line(error: OSError) -> str:
    """`FILE: what the system says`, in lower case like every other line."""
    what = error.strerror or str(error) or type(error).__name__
    if not what[:2].isupper():  # an abbreviation stays
        what = what[:1].lower() + what[1:]
    named = [
        name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    ]
    files = " → ".join(printable(name, 200, quoted=False) for name in named)
    return one_line(f"{files}: {what}" if files else what)


def memory_limit() -> str:
    """The limit that the process was given, in words; empty where there is none or it cannot be known."""
    try:
        import resource  # there is none on Windows
    except ImportError:
        return ""
    limits = [resource.getrlimit(which)[0] for which in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    finite = [limit for limit in limits if limit != resource.RLIM_INFINITY]
    return f" (the limit is {min(finite) >> 20} MiB)" if finite else ""


def bug_line(error: Exception, command: str, arguments: Iterable[str]) -> str:
    """The line for an error that nobody foresaw, after its traceback went to a log."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    try:
        log = f"the log is {printable(write_log(error, command, arguments), 200, quoted=False)}"
    except OSError as trouble:
        log = f"no log could be written: {os_error_line(trouble)}"
    except RuntimeError:  # of platformdirs
        log = "no log could be written: this user has no home folder"
    what = f"{type(error).__name__}{where}: {printable(str(error), 200, quoted=False)}"
    return one_line(f"this is a bug of ours: {what} ({log})")


def write_log(error: Exception, command: str, arguments: Iterable[str]) -> Path:
    """Writes traceback, command line and versions where the platform keeps logs; returns the file."""
    import platform  # both are needed only when something went wrong

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
