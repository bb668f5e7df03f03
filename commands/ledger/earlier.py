"""Checks that need not be made again: those that passed, as the registry has it, on the very same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llorch.base.record_files import RECORD
from llorch.base.times import rfc3339_seconds
from llorch.registry import RefusedRequest, RegistryError

if TYPE_CHECKING:
    from llorch.base.file_digests import FileDigests
    from llorch.base.progress import Progress
    from llorch.registry import ArtifactAnswer, Check, Location, Registry
    from llorch.verification import Result

# They hold conversion.json against the files, and it is no part of the artifact.
OF_THE_RECORD = ("files.listed", "files.digests", "source.digest")


def finished_checks(
    folder: Path,
    against: Path | None,
    level: str,
    device: str,
    location: Location,
    digests: FileDigests,
    progress: Progress | None = None,
) -> dict[str, Result]:
    """By name, what passed in the latest verification like this one; nothing where a byte is another.

    Like this one: the same artifact, source, level, device and versions. Every file of both sides is hashed for it,
    if the registry knows of such a verification. What failed, fell over or was skipped is made again, and so is what
    holds conversion.json against the files. A registry that cannot be read has nothing: whoever records afterwards
    says why.
    """
    from llorch.registry import ArtifactAnswer, Registry  # SQLAlchemy, as in `record`

    try:
        document = json.loads((folder / RECORD).read_bytes())
        with Registry(location.url) as store:
            known = store.show(document["tree"])
            if not isinstance(known, ArtifactAnswer):
                return {}
            checks = _of_latest_run(store, known, against is not None, {"level": level, "device": device})
        if not checks or not _is_unchanged(folder, document, against, digests, progress):
            return {}
        return {check.result.name: _result(check) for check in checks}
    except (OSError, ValueError, LookupError, TypeError, RegistryError, RefusedRequest):
        return {}


def _of_latest_run(
    store: Registry, known: ArtifactAnswer, has_source: bool, params: Mapping[str, str]
) -> Sequence[Check]:
    """The checks that passed in the latest run of these parameters and versions; with a source, or without one."""
    from llorch.registry import RunAnswer
    from llorch.verification import tools

    versions = tools()
    for uid in dict.fromkeys(check.run for check in known.checks):
        run = store.show(uid)
        if (
            isinstance(run, RunAnswer)
            and (run.kind, run.params, run.tools) == ("verify", params, versions)
            and any(edge.role == "reference" for edge in run.edges) == has_source
        ):
            passed = [check for check in known.checks if check.result.status in ("PASSED", "WARNED")]
            return [check for check in passed if check.run == uid and check.result.name not in OF_THE_RECORD]
    return []


def _is_unchanged(
    folder: Path,
    document: Mapping[str, Any],
    against: Path | None,
    digests: FileDigests,
    progress: Progress | None,
) -> bool:
    """Whether every byte of both sides is the one that is recorded."""
    from llorch.registry import hashed_files, tree1

    rows: Sequence[Mapping[str, Any]] = document["sources"] if against is not None else []
    paths = [_part(against, row["path"], len(rows)) for row in rows if against is not None]
    digests.begin([*folder.glob("*.safetensors"), *paths])
    if tree1(hashed_files(folder, progress, digests.of)) != document["tree"]:
        return False
    return all(digests.of(path) == row["sha256"] for path, row in zip(paths, rows, strict=True))


def _part(against: Path, recorded: str, parts: int) -> Path:
    """A file of the source: the one that is named, or beside it, where there are several."""
    return against if parts == 1 else against.with_name(Path(recorded).name)


def _result(check: Check) -> Result:
    """The check as it was found then, with when that was."""
    from llorch.verification import Result, Status

    found, detail = check.result, check.result.detail
    if not isinstance(detail, dict) or found.threshold is None:
        raise TypeError(f"check {found.name} was recorded in another form")
    return Result(
        found.name,
        Status(found.status),
        None if found.value is None else float(found.value),
        float(found.threshold),
        found.unit or "",
        str(detail["because"]),
        str(detail["where"]),
        str(detail["detail"]),
        0.0,
        made=str(detail.get("made") or rfc3339_seconds(check.at)),
    )
