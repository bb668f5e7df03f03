"""What the registry is told of a conversion and its verification, made of what both say of themselves.

A conversion is told by the document that its conversion.json is, so that a folder whose recording failed, or
that came from another machine, is recorded by the same words later.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from commands.failures import Failure, os_error_line
from formats.errors import MalformedInput
from formats.shown import shown
from registry.answers import ArtifactAnswer
from registry.digests import HashedFile, hashed_files, tree1
from registry.errors import InvalidReference, RegistryError, RequestError, UnknownReference
from registry.location import locate
from registry.records import ArtifactRecord, CheckRecord, EdgeRecord, FileRecord, RunRecord, TensorRecord
from registry.reference import name_from, parse_alias
from registry.uids import time_of, uuid7

if TYPE_CHECKING:
    from registry.location import Location
    from verification.report import Report, Result


RECORD = "conversion.json"
UNEQUAL = ("FAILED", "ERROR")  # how a check ends where two files are not known to be one


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where something was recorded. registry: without a password."""

    registry: str
    name: str
    digest: str

    def to_json(self) -> dict[str, object]:
        """What --json says of it."""
        return {"registry": self.registry, "name": self.name, "digest": self.digest}


def here(option: str | None) -> Location:
    """The registry that a command means, by its option, the environment and the current folder."""
    return locate(option, os.environ, Path.cwd())


def record(
    folder: Path, conversion: Mapping[str, Any], name: str | None, option: str | None
) -> Recorded | Failure:
    """Records a finished conversion; a failure says how to do it later."""
    from registry.store import Registry  # SQLAlchemy: half a second, after the work

    location = here(option)
    name = name or name_from(folder.name)
    try:
        converted = conversion_run(folder, conversion)
        made = converted.output()
        assert made is not None, "a conversion has an output"
        with Registry(location.url) as store:
            store.record(converted, names={name: made.digest})
    except (RegistryError, RequestError, OSError) as error:
        again = f"{folder} is kept, `llorch-registry adopt {folder}` records it"
        return not_recorded(location, error, again)
    return Recorded(location.shown, name, made.digest)


def record_verification(
    folder: Path, report: Report | Failure, run: str, option: str | None
) -> Recorded | Failure | None:
    """Records, under the id `run`, that a folder was verified, or could not be; None if it is not recorded itself.

    The folder is what its conversion.json says; a failure says how to verify it again.
    """
    from registry.store import Registry  # as in `record`

    location = here(option)
    if not location.is_there:
        return None
    folder = folder.absolute()
    try:
        document = json.loads((folder / RECORD).read_bytes())
        converted = conversion_run(folder, document)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    made = converted.edges[1].artifact.digest
    try:
        with Registry(location.url) as store:
            known = store.show(made)
            store.record(verification_run(converted, report, run))
    except UnknownReference:
        return None
    except (RegistryError, RequestError, OSError) as error:
        return not_recorded(location, error, f"`llorch-verify {folder}` tries again")
    names = known.names if isinstance(known, ArtifactAnswer) else ()
    return Recorded(location.shown, next(iter(names), made), made)


def not_recorded(location: Location, error: Exception, again: str) -> Failure:
    """Why a registry was not told, and how it still can be."""
    what = os_error_line(error) if isinstance(error, OSError) else str(error)
    return Failure(4, str(getattr(error, "reason", "unreachable")), f"{location.shown}: {what}; {again}")


def adopt(folder: Path, name: str | None, option: str | None) -> Recorded:
    """Records a converted folder by its conversion.json, once its files are found to be those listed there.

    Raises InputError for a folder that is no such thing or was changed, OSError, RegistryError.
    """
    from registry.store import Registry  # as in `record`

    folder = folder.absolute()
    path = folder / RECORD
    try:
        document = json.loads(path.read_bytes())
        converted = conversion_run(folder, document)
    except (ValueError, LookupError, TypeError, RequestError) as error:
        raise MalformedInput(f"is no record of a conversion: {error}", path=path) from error
    made = converted.output()
    assert made is not None, "a conversion has an output"
    found = {(file.path, file.sha256) for file in hashed_files(folder)}
    if changed := sorted(file.path for file in made.files if (file.path, file.sha256) not in found):
        raise MalformedInput(f"{shown(changed[0])} is missing or is not what {RECORD} says", path=folder)
    location = here(option)
    name = name or name_from(folder.name)
    with Registry(location.url) as store:
        store.record(converted, names={name: made.digest})
    return Recorded(location.shown, name, made.digest)


def checked_name(_: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """An option's `name` if the registry takes it, so that it is refused before any work."""
    if name is not None:
        try:
            parse_alias(name)
        except InvalidReference as error:
            raise click.BadParameter(str(error), param=parameter) from error
    return name


def conversion_run(folder: Path, document: Mapping[str, Any]) -> RunRecord:
    """The run that conversion.json, which is `document`, tells of; told twice, it is the same run.

    A record that names none (an older one, or one of a caller who keeps no registry) is told by its digest.
    """
    started = datetime.fromisoformat(document["times"]["started"])
    if (uid := document.get("run")) is None:
        told = hashlib.sha256((folder / RECORD).read_bytes()).digest()
        uid = uuid7(int(started.timestamp() * 1000), int.from_bytes(told[:10]) >> 6)
    return RunRecord(
        uid=uid,
        kind="convert",
        status="succeeded",
        started_at=time_of(uid),
        finished_at=datetime.fromisoformat(document["times"]["finished"]),
        host=socket.gethostname(),
        params=document["options"],
        tools=document["tools"],
        edges=[source_edge(folder, document), folder_edge(folder, document)],
        exit_code=0,
    )


def source_edge(folder: Path, document: Mapping[str, Any]) -> EdgeRecord:
    """The file, or the parts of a split model, that went in."""
    rows: Sequence[Mapping[str, Any]] = document["sources"]
    files = [FileRecord(row["name"], row["sha256"], row["size"], "weights") for row in rows]
    split = len(files) > 1
    types = document["quantization"]["types"]
    artifact = ArtifactRecord(
        digest=tree1(HashedFile(f.path, f.sha256, f.size_bytes) for f in files)
        if split
        else f"sha256:{files[0].sha256}",
        kind="gguf-split" if split else "gguf",
        size_bytes=sum(file.size_bytes for file in files),
        files=files,
        architecture=document["architecture"],
        dtype=next(iter(types), None),
        facts={"bits_per_weight": document["quantization"]["bits_per_weight"]},
    )
    return EdgeRecord("input", artifact, files[0].path, os.path.normpath(folder / rows[0]["path"]))


def folder_edge(folder: Path, document: Mapping[str, Any]) -> EdgeRecord:
    """The folder that came out, with the records that lie in it."""
    files = [FileRecord(row["path"], row["sha256"], row["size"], row["role"]) for row in document["files"]]
    for name in (RECORD, "provenance.intoto.json"):
        content = (folder / name).read_bytes()
        files.append(FileRecord(name, hashlib.sha256(content).hexdigest(), len(content), "record"))
    artifact = ArtifactRecord(
        digest=document["tree"],
        kind="hf-folder",
        size_bytes=sum(row["size"] for row in document["files"]),
        files=files,
        weights_digest=document["weights"],
        architecture=document["architecture"],
        dtype=document["dtype"],
        tensors=[
            TensorRecord(
                row["name"],
                row["dtype"],
                tuple(row["shape"]),
                row["file"],
                row["offset"],
                row["size"],
                row["sha256"],
            )
            for row in document["tensors"]
        ],
    )
    return EdgeRecord("output", artifact, folder.name, os.fspath(folder))


def verification_run(converted: RunRecord, report: Report | Failure, run: str) -> RunRecord:
    """The run that checked what `converted` made against what it was made from; or that could not."""
    source, made = converted.edges
    edges = [EdgeRecord("input", made.artifact, made.label, made.path)]
    if isinstance(report, Failure):
        return RunRecord(
            run, "verify", "failed", time_of(run), datetime.now(UTC), converted.host,
            edges=edges, error=report.message, exit_code=report.exit_code,
        )  # fmt: skip
    another = any(result.name == "source.digest" and result.status in UNEQUAL for result in report.results)
    if report.against is not None and not another:
        edges.append(EdgeRecord("reference", source.artifact, source.label))
    return RunRecord(
        uid=run,
        kind="verify",
        status="succeeded",
        started_at=time_of(run),
        finished_at=datetime.fromisoformat(report.finished),
        host=converted.host,
        params={"level": report.level, "device": report.device},
        tools=report.tools,
        edges=edges,
        checks=[check_record(made.artifact.digest, result) for result in report.results],
        exit_code=1 if report.outcome == "FAILED" else 0,
    )


def check_record(artifact: str, result: Result) -> CheckRecord:
    """One check's measurement, as text that gives the number back."""
    return CheckRecord(
        artifact,
        result.name,
        result.status.value,
        value=None if result.value is None else repr(result.value),
        threshold=repr(result.at_most),
        op="<=",
        unit=result.unit,
        detail={"where": result.where, "detail": result.detail, "because": result.because},
    )
