"""One task of a batch: download the source if it is remote, convert, verify, record, and return the outcome.

It runs in a worker's process, on any machine. The outcome is a small JSON document. Every error is reported in it, so
that the batch goes on.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llorch import formats, sources
from llorch.base.record_files import RECORD
from llorch.base.version import __version__
from llorch.commands import cli
from llorch.commands.cli import Failure
from llorch.commands.convert.command import convert_and_check
from llorch.commands.ledger import (
    RecordResult,
    from_fetch,
    record_conversion,
    record_fetch,
    record_verification,
    tracked_run,
)
from llorch.commands.ledger.conversion import source_edge
from llorch.converter import ConvertOptions, discard_unfinished
from llorch.registry import Location, name_from
from llorch.verification import Report

COMMAND = "llorch batch"

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
UNRECORDED = 4  # the exit code of an unusable registry
AGAIN = (5, 6)  # exit codes worth a retry: reading, writing, the network, a busy target


@dataclass(frozen=True, slots=True)
class Work:
    """The arguments of `run_task`.

    task: the fields of a `fleet.Task`. out: the folder that gets a folder per model. scratch: where sources are
    downloaded to. registries: the folder of the nodes' registries; node: this one's name. threads: of the conversion.
    force: replace a folder that another conversion wrote.
    """

    task: Mapping[str, Any]
    options: Mapping[str, Any]
    level: str
    out: str
    scratch: str
    registries: str
    node: str
    threads: int = 1
    force: bool = False

    @property
    def folder(self) -> Path:
        """The model's output folder."""
        return Path(self.out) / str(self.task["output"])

    @property
    def location(self) -> Location:
        """The node's registry."""
        return Location(str(Path(self.registries) / f"{self.node}.db"), "a registry a node")


@dataclass(slots=True)
class Clock:
    """The seconds that each step took."""

    seconds: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def lap(self, step: str) -> None:
        """End a step: record the seconds since the last one ended."""
        now = time.monotonic()
        self.seconds[step] = round(now - self.began, 4)
        self.began = now


class WrongSource(Exception):
    """The source changed since it was planned."""


def run_task(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Run one task and return its outcome: "converted", or "failed" with a stable reason and whether to retry."""
    work, clock = Work(**payload), Clock()
    about = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "node": work.node,
        "registry": work.location.url,
    }
    scratch = Path(work.scratch) / str(work.task["key"])
    try:
        outcome = _convert(work, scratch, clock)
    except WrongSource as error:
        outcome = _failed_result("changed", str(error))
    except Exception as error:  # noqa: BLE001  # an error of any kind ends this task only
        outcome = _failure(cli.failure(error, COMMAND), error)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {**outcome, **about, "seconds": clock.seconds}


def _failed_result(reason: str, message: str, *, again: bool = False) -> dict[str, Any]:
    return {"status": "failed", "reason": reason, "message": cli.one_line(message), "again": again}


def _failure(failure: Failure, error: BaseException | None = None) -> dict[str, Any]:
    """Return a command's failure as an outcome."""
    full = isinstance(error, OSError) and error.errno in NO_SPACE
    return _failed_result(
        "space" if full else failure.reason, failure.message, again=failure.exit_code in AGAIN
    )


def _convert(work: Work, scratch: Path, clock: Clock) -> dict[str, Any]:
    """Fetch, convert, verify and record; raises what any of these does."""
    source = _source(work, scratch)
    clock.lap("fetch")
    options = ConvertOptions(**work.options)
    document = _finished_record(work, options)
    if document is None:
        done = convert_and_check(
            source, work.folder, options, work.level, name_from(work.folder.name), work.location,
            threads=work.threads, force=work.force,
        )  # fmt: skip
        if done is None:
            return _failed_result(
                "unsupported", "holds a vocabulary and no tensor: llorch-convert writes its tokenizer"
            )
        document = dict[str, Any](done.conversion.to_json())
        report, recorded = done.report, done.recorded
    else:
        report, recorded = _verify_again(work, source, document)
    clock.lap("convert")
    _require_planned(work, document)
    if isinstance(recorded, Failure):
        return _failed_result(
            recorded.reason, recorded.message, again=recorded.exit_code in (*AGAIN, UNRECORDED)
        )
    if isinstance(report, Failure):
        return _failed_result(report.reason, report.message, again=True)
    if report is not None and report.outcome == "FAILED":
        return _failed_result("check-failed", f"{work.folder} is kept: {report.sentence}")
    return {
        "status": "converted",
        "tree": document["tree"],
        "weights": document["weights"],
        "verified": None if report is None else report.outcome,
        "level": work.level,
        "run": document["run"],
        "written_bytes": sum(row["size"] for row in document["files"]),
    }


def _source(work: Work, scratch: Path) -> Path:
    """Return the source's path; a remote one is downloaded to `scratch`, checked and recorded."""
    named = str(work.task["source"])
    if os.path.isabs(named):  # noqa: PTH117  # a text that may be a URL
        return Path(named)
    reference = sources.parse_source(named)
    params: Mapping[str, Any] = {"source": named}
    with (
        tracked_run("fetch", named, params, work.location, is_there=lambda: True) as run,
        sources.open_source(reference) as remote,
    ):
        identity = str(work.task["identity"])
        if identity.startswith("url:") and identity != f"url:{named} {remote.offer.files[0].etag}":
            raise WrongSource(f"{named}: its ETag is not the planned one any more")
        fetched = sources.fetch(remote, sources.destination_for(remote, scratch, named), named)
        recorded = record_fetch(from_fetch(fetched, []), run, params, None, work.location)
    if isinstance(recorded, Failure):
        raise OSError(errno.EIO, recorded.message)
    return fetched.files[0].path


def _finished_record(work: Work, options: ConvertOptions) -> Mapping[str, Any] | None:
    """Return the conversion.json of a complete folder left by an earlier, killed attempt; None if there is none."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        document: Mapping[str, Any] = json.loads((work.folder / RECORD).read_bytes())
        same = document["options"] == options.to_json() and document["tools"]["llorch"] == __version__
        whole = all((work.folder / row["path"]).stat().st_size == row["size"] for row in document["files"])
        if same and whole and _identity(work, document) == work.task["identity"]:
            return document
    return None


def _verify_again(
    work: Work, source: Path, document: Mapping[str, Any]
) -> tuple[Report | Failure | None, RecordResult | Failure]:
    """Record the folder of an earlier attempt, which may not have been, and verify it."""
    formats.model_path(source)  # raises if the source to compare with is gone
    # An attempt that was killed after the folder got its name left a lock and a staging folder.
    discard_unfinished(work.folder)
    recorded = record_conversion(work.folder, document, name_from(work.folder.name), work.location)
    if work.level == "none" or isinstance(recorded, Failure):
        return None, recorded
    there, params = os.fspath(work.folder), {"level": work.level}
    with tracked_run("verify", there, params, work.location, is_there=work.folder.is_dir) as run:
        report = cli.verify_in_fresh_process(work.folder, work.level, "--against", os.fspath(source))
        trouble = record_verification(work.folder, report, run, work.location)
    return report, trouble if isinstance(trouble, Failure) else recorded


def _identity(work: Work, document: Mapping[str, Any]) -> str:
    """Return the digest of a folder's source; the planned identity if that is not a digest."""
    planned = str(work.task["identity"])
    if not planned.startswith(("sha256:", "tree1:")):
        return planned
    return source_edge(work.folder, document).artifact.digest


def _require_planned(work: Work, document: Mapping[str, Any]) -> None:
    """Remove the folder and raise WrongSource if the source changed after it was planned."""
    found = _identity(work, document)
    if found != work.task["identity"]:
        shutil.rmtree(work.folder, ignore_errors=True)
        raise WrongSource(
            f"{work.task['source']} is {found[:19]}, was planned as {work.task['identity'][:19]}"
        )
