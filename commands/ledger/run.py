"""A write-ahead note of a run, so that failed and killed runs appear in the history.

A successful run is recorded by its command before the end of the `with` block; then the note is deleted. If the process
is killed, its note still says "running", and since the process no longer exists, the run counts as died.
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

# Errors of writing a note, including a deleted current folder. They never fail the command itself.
TROUBLE = (OSError, RefusedRequest, RuntimeError)


@dataclass(frozen=True, slots=True)
class TrackedRun:
    """A run in progress: its id in the registry, and when it started."""

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
    """Note a run in progress within the `with` block; an exception or signal that leaves the block makes it failed.

    source: what it works on, for people. location: of the registry. is_there: called if the input is refused; if it
    says that there was no input, no run is noted. A wrong command line isn't a run either. Errors of writing the note
    are suppressed: recording the run itself will report them.
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
    """Return the failure of a run that `error` ended; None if that doesn't count as a run."""
    if isinstance(error, Signalled):
        return Failure(128 + error.number, "stopped", f"stopped by signal {error.number}")
    if not isinstance(error, Exception):
        return None
    code, reason = exit_code_of(error)
    if code == 2 or (code == 3 and not is_there()):
        return None
    if code == 70:  # its log is written at the end of the command
        return Failure(code, reason, one_line(f"{type(error).__name__}: {error}"))
    return failure(error, "")
