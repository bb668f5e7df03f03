"""What the registry is told of a run while it goes on, and when it fails: a note, which costs next to nothing.

A run that succeeds is recorded by whoever made it, before the end of the block; then nothing is left of the note.
One whose process was killed leaves the note that it goes on, and of a process that is gone that means: it died.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llorch.base.version import __version__
from llorch.commands.cli import Failure, Signalled, exit_code_of, failure, one_line
from llorch.commands.ledger.record import registry_location
from llorch.registry import RefusedRequest

if TYPE_CHECKING:
    from llorch.registry import Json, RunKind

# What may go wrong with a note, the current folder being gone included: it never is the work's trouble.
TROUBLE = (OSError, RefusedRequest, RuntimeError)


@contextmanager
def tracked_run(
    kind: RunKind,
    source: str,
    params: Mapping[str, Json],
    option: str | None,
    *,
    is_there: Callable[[], bool],
) -> Iterator[str]:
    """Within it a run goes on, by the id that it gives; an error or a signal that leaves it makes it a failed one.

    source: what it works on, in words for a person. option: of --registry. is_there: whether there was anything
    to work on, asked if the input is refused; if not, nothing was run and nothing is told. Nor is a wrong command
    line a run. Whatever goes wrong with telling is kept quiet: it shows when the run itself is recorded.
    """
    from llorch.registry import RunRecord, Spool, this_process, time_of, uuid7

    uid = uuid7()
    run = RunRecord(
        uid=uid,
        kind=kind,
        status="running",
        started_at=time_of(uid),
        host=socket.gethostname(),
        params={**params, "source": one_line(source)},
        tools={"llorch": __version__, "python": platform.python_version()},
        process=this_process(),
    )
    spool = None
    with suppress(*TROUBLE):
        spool = Spool(registry_location(option).spool)
        spool.note(run)
    try:
        yield uid
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
