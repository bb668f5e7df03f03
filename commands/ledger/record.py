"""Recording conversions, verifications and signatures in the registry, and failures to do so.

`conversion` builds the records. It and SQLAlchemy are imported only when there is something to record, after the work.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.base.record_files import RECORD
from llorch.commands.cli import Failure, os_error_line, progress
from llorch.registry import (
    InvalidReference,
    RefusedByPolicy,
    RefusedRequest,
    RegistryError,
    UnknownReference,
    name_from,
    parse_alias,
)

if TYPE_CHECKING:
    from llorch.commands.ledger.run import TrackedRun
    from llorch.registry import Location, Registry, RunRecord, SignatureRecord
    from llorch.verification import Report


@dataclass(frozen=True, slots=True)
class RecordResult:
    """Where something was recorded. registry: its URL without a password.

    before: the digest the name referred to until now, if the name was a default and that artifact has another source.
    refused: why a policy refused the name; `name` is the digest then.
    """

    registry: str
    name: str
    digest: str
    before: str | None = None
    refused: str | None = None

    def to_json(self) -> dict[str, object]:
        """Return the fields for --json."""
        return {"registry": self.registry, "name": self.name, "digest": self.digest}


def load_registry_ahead() -> None:
    """Start importing SQLAlchemy in a thread: half a second that overlaps with the writing of the weights."""

    def load() -> None:
        with suppress(Exception):  # the recording runs into the same error and reports it
            from llorch.registry import Registry  # noqa: F401  # all of SQLAlchemy

    threading.Thread(target=load, daemon=True).start()


def record_conversion(
    folder: Path, conversion: Mapping[str, Any], name: str | None, location: Location
) -> RecordResult | Failure:
    """Record a finished conversion under `name`, by default the folder's; a Failure says how to record it later."""
    from llorch.commands.ledger.conversion import conversion_run
    from llorch.registry import Registry

    chosen, name = name is not None, name or name_from(folder.name)
    try:
        converted = conversion_run(folder, conversion)
        made = converted.output()
        assert made is not None, "a conversion has an output"
        with Registry(location.url, waiting=progress) as store:
            source = converted.edges[0].artifact.digest
            before = None if chosen else digest_of_other_source(store, name, source, made.digest)
            signatures = signatures_of_source(converted, conversion)
            refused = record_named(store, converted, {name: made.digest}, signatures)
    except (RegistryError, RefusedRequest, OSError) as error:
        again = f"{folder} is kept, `llorch-registry adopt {folder}` records it"
        return recording_failure(location, error, again)
    if refused:
        return RecordResult(location.shown, made.digest, made.digest, refused=refused[0])
    return RecordResult(location.shown, name, made.digest, before)


def signatures_of_source(converted: RunRecord, conversion: Mapping[str, Any]) -> list[SignatureRecord]:
    """Return the signature of the source that this conversion verified; empty if it verified none.

    Only for a conversion that has just run: a signature claimed in an old conversion.json proves nothing.
    """
    from llorch.registry import SignatureRecord

    signed = conversion["source_signature"]
    if signed is None or converted.finished_at is None:
        return []
    digest, file = converted.edges[0].artifact.digest, signed["files"][0]["name"]
    return [SignatureRecord(digest, signed["signer"], file, converted.finished_at)]


def record_named(
    store: Registry, run: RunRecord, names: Mapping[str, str], signatures: Sequence[SignatureRecord] = ()
) -> list[str]:
    """Record a run and name its outputs; return why, for each name that a policy refuses."""
    try:
        store.record(run, signatures=signatures, names=names)
    except RefusedByPolicy:
        store.record(run, signatures=signatures)
    else:
        return []
    refusals = []
    for name, digest in names.items():
        try:
            store.record(names={name: digest})
        except RefusedByPolicy as refusal:
            refusals.append(f"{refusal}; then `llorch-registry tag {digest[:18]} {name}` names it")
    return refusals


def digest_of_other_source(store: Registry, name: str, source: str, made: str) -> str | None:
    """Return the digest a name refers to, if that is neither `made` nor `source` nor made of `source`; else None."""
    changes = store.alias_log(f"{name}@latest")
    known = changes[0].digest if changes else None
    if known is None or known in (source, made):
        return None
    made_of = {arrow.digest for arrow in store.lineage(known).arrows if arrow.role == "input"}
    return None if source in made_of else known


def name_taken(recorded: RecordResult) -> str | None:
    """Return a warning if the name referred to a model of another source until now, else None."""
    if recorded.before is None:
        return None
    before = recorded.before[: recorded.before.index(":") + 13]
    return (
        f"warning: {recorded.name} meant {before} until now, which is of another source (it is {recorded.name}~1"
        " from now on): --name gives this one a name of its own"
    )


def record_verification(
    folder: Path, report: Report | Failure, run: TrackedRun, location: Location
) -> RecordResult | Failure | None:
    """Record, as `run`, the verification of a folder; None if the registry does not know the folder.

    The folder is identified by its conversion.json. A Failure says how to verify it again.
    """
    # as in `record_conversion`
    from llorch.commands.ledger.conversion import conversion_run, verification_run
    from llorch.registry import ArtifactAnswer, Registry

    if not location.is_there:
        return None
    folder = folder.absolute()
    try:
        document = json.loads((folder / RECORD).read_bytes())
        converted = conversion_run(folder, document)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    output = converted.output()
    assert output is not None, "a conversion has an output"
    made = output.digest
    try:
        with Registry(location.url, waiting=progress) as store:
            known = store.show(made)
            store.record(verification_run(converted, report, run))
    except UnknownReference:
        return None
    except (RegistryError, RefusedRequest, OSError) as error:
        return recording_failure(location, error, f"`llorch-verify {folder}` tries again")
    names = known.names if isinstance(known, ArtifactAnswer) else ()
    return RecordResult(location.shown, next(iter(names), made), made)


def record_signature(
    model: Path, files: Mapping[str, str], signer: str, signature: str, location: Location
) -> RecordResult | Failure | None:
    """Record that a signature of a model was verified; None if the registry does not know the model.

    files: path → SHA-256 as just read; "." is the path of a model that is a single file. signature: the name of the
    signature file.
    """
    from llorch.registry import ArtifactAnswer, HashedFile, Registry, SignatureRecord, tree1  # as above

    if not location.is_there:
        return None
    try:
        digest = (
            tree1(HashedFile(path, sha256, (model / path).stat().st_size) for path, sha256 in files.items())
            if model.is_dir()
            else f"sha256:{files['.']}"
        )
        with Registry(location.url, waiting=progress) as store:
            store.record(signatures=[SignatureRecord(digest, signer, signature, datetime.now(UTC))])
            known = store.show(digest)
    except UnknownReference:
        return None
    except (RegistryError, RefusedRequest, OSError) as error:
        return recording_failure(location, error, "the same command tries again")
    names = known.names if isinstance(known, ArtifactAnswer) else ()
    return RecordResult(location.shown, next(iter(names), digest), digest)


def recording_failure(location: Location, error: Exception, again: str) -> Failure:
    """Return the failure to record something: the error, and how to record it later."""
    what = os_error_line(error) if isinstance(error, OSError) else str(error)
    named = what if location.shown in what else f"{location.shown}: {what}"
    return Failure(4, str(getattr(error, "reason", "unreachable")), f"{named}; {again}")


def adopt_folder(folder: Path, name: str | None, location: Location) -> RecordResult:
    """Record a converted folder from its conversion.json, after checking its files against the digests there.

    Raises InputError for a folder that isn't a conversion or was changed, OSError, RegistryError, and RefusedByPolicy
    if it was recorded but a policy refuses its name.
    """
    from llorch.commands.ledger.conversion import conversion_run  # as in `record_conversion`
    from llorch.registry import Registry, hashed_files

    folder = folder.absolute()
    path = folder / RECORD
    try:
        document = json.loads(path.read_bytes())
        converted = conversion_run(folder, document)
    except (ValueError, LookupError, TypeError, RefusedRequest) as error:
        raise MalformedInput(f"is no record of a conversion: {error}", path=path) from error
    made = converted.output()
    assert made is not None, "a conversion has an output"
    with progress(f"hashing {folder.name}") as bar:
        found = {file.path: file.sha256 for file in hashed_files(folder, bar)}
    listed = {file.path for file in made.files}
    if changed := sorted(file.path for file in made.files if found.get(file.path) != file.sha256):
        raise MalformedInput(f"{printable(changed[0])} is missing or is not what {RECORD} says", path=folder)
    if added := sorted(found.keys() - listed):
        raise MalformedInput(
            f"{printable(added[0])} is not listed in {RECORD}: it is another model", path=folder
        )
    name = name or name_from(folder.name)
    with Registry(location.url, waiting=progress) as store:
        if refused := record_named(store, converted, {name: made.digest}):
            raise RefusedByPolicy(refused[0])
    return RecordResult(location.shown, name, made.digest)


def checked_name(_: click.Context, parameter: click.Parameter, name: str | None) -> str | None:
    """Return an option's `name`, or raise BadParameter, before any work, if it isn't valid in the registry."""
    if name is not None:
        try:
            parse_alias(name)
        except InvalidReference as error:
            raise click.BadParameter(str(error), param=parameter) from error
    return name
