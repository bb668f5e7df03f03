"""A write-ahead note of a run, so that failed and killed runs show in history; it costs next to nothing.

A run that succeeds is recorded by whoever made it, before the end of the block; then nothing is left of the note.
One whose process was killed leaves the note that it goes on, and of a process that is gone that means: it died.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llorch.base.times import now_milliseconds
from llorch.base.version import __version__
from llorch.commands.cli import Failure, Signalled, exit_code_of, failure, one_line
from llorch.registry import RefusedRequest

if TYPE_CHECKING:
    from llorch.registry import Json, Location, RunKind

# What may go wrong with a note, the current folder being gone included: it never is the work's trouble.
TROUBLE = (OSError, RefusedRequest, RuntimeError)


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run under way: its id, by which the registry knows it, and when it began."""

    id: str
    started: datetime


@contextmanager
def tracked_run(
    kind: RunKind,
    source: str,
    params: Mapping[str, Json],
    location: Location,
    *,
    is_there: Callable[[], bool],
) -> Iterator[TrackedRun]:
    """Within it a run goes on; an error or a signal that leaves it makes it a failed one.

    source: what it works on, in words for a person. location: of the registry. is_there: whether there was anything
    to work on, asked if the input is refused; if not, nothing was run and nothing is noted. Nor is a wrong command
    line a run. Whatever goes wrong with the note is kept quiet: it shows when the run itself is recorded.
    """
    from llorch.registry import RunRecord, Spool, this_process, uuid7_at

    started = now_milliseconds()
    uid = uuid7_at(started)
    run = RunRecord(
        uid=uid,
        kind=kind,
        status="running",
        started_at=started,
        host=socket.gethostname(),
        params={**params, "source": one_line(source)},
        tools={"llorch": __version__, "python": platform.python_version()},
        process=this_process(),
    )
    spool = None
    with suppress(*TROUBLE):
        spool = Spool(location.spool)
        spool.note(run)
    try:
        yield TrackedRun(uid, started)
    except BaseException as error:
        how = failure_of_run(error, is_there)
        if spool is not None and how is not None:
            ended = replace(run, status="failed", finished_at=datetime.now(UTC), process=None)
            with suppress(*TROUBLE):
                spool.note(replace(ended, error=how.message, exit_code=how.exit_code))
        raise
    finally:
        if spool is not None:
            with suppress(*TROUBLE):
                spool.forget(uid)


def failure_of_run(error: BaseException, is_there: Callable[[], bool]) -> Failure | None:
    """What an error says of the run that it ended; None if there was none."""
    if isinstance(error, Signalled):
        return Failure(128 + error.number, "stopped", f"stopped by signal {error.number}")
    if not isinstance(error, Exception):
        return None
    code, reason = exit_code_of(error)
    if code == 2 or (code == 3 and not is_there()):
        return None
    if code == 70:  # the log of it is written where the command ends
        return Failure(code, reason, one_line(f"{type(error).__name__}: {error}"))
    return failure(error, "")
