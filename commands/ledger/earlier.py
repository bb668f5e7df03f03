"""Results of earlier checks that can be reused: those that passed, per the registry, on exactly the same bytes."""

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

# Checks that compare conversion.json with the files; never reused, since conversion.json is not part of the artifact.
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
    """Return the checks that passed in the latest matching verification, by name; empty if any byte has changed.

    It matches if artifact, source, level, device and versions are the same. If the registry has such a verification,
    every file of the folder and of the source is hashed. Checks that failed, raised or were skipped are run again, and
    so are those that compare conversion.json with the files. A registry that cannot be read gives an empty result: the
    recording afterwards reports why.
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
    """Return the checks that passed in the latest verification with these parameters and the current versions.

    has_source: whether that verification compared with a source.
    """
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
    """Return whether the files of the folder and of the source still have the recorded digests."""
    from llorch.registry import hashed_files, tree1

    rows: Sequence[Mapping[str, Any]] = document["sources"] if against is not None else []
    paths = [_part(against, row["path"], len(rows)) for row in rows if against is not None]
    digests.begin([*folder.glob("*.safetensors"), *paths])
    if tree1(hashed_files(folder, progress, digests.of)) != document["tree"]:
        return False
    return all(digests.of(path) == row["sha256"] for path, row in zip(paths, rows, strict=True))


def _part(against: Path, recorded: str, parts: int) -> Path:
    """Return the path of one file of the source: `against` itself, or for a split source the part beside it."""
    return against if parts == 1 else against.with_name(Path(recorded).name)


def _result(check: Check) -> Result:
    """Return a recorded check as a result, with the time it was made. Raises TypeError for an older form of record."""
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
