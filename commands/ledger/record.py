"""Telling the registry of a conversion and its verification, and what happens where it cannot be told.

`run_records` makes the records. It and SQLAlchemy are loaded when there is something to tell, after the work.
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
    """Where something was recorded. registry: without a password.

    before: the digest that the name meant until now, where nobody chose the name and it is of another source.
    refused: why it was not given the name that it should have; `name` is its digest then.
    """

    registry: str
    name: str
    digest: str
    before: str | None = None
    refused: str | None = None

    def to_json(self) -> dict[str, object]:
        """What --json says of it."""
        return {"registry": self.registry, "name": self.name, "digest": self.digest}


def load_registry_ahead() -> None:
    """Begins to load what `record_conversion` needs; half a second that passes while the weights wait for the disk."""

    def load() -> None:
        with suppress(Exception):  # whoever records meets it again, and says it
            from llorch.registry import Registry  # noqa: F401  # all of SQLAlchemy

    threading.Thread(target=load, daemon=True).start()


def record_conversion(
    folder: Path, conversion: Mapping[str, Any], name: str | None, location: Location
) -> RecordResult | Failure:
    """Records a finished conversion; a failure says how to do it later."""
    from llorch.commands.ledger.conversion import conversion_run
    from llorch.registry import Registry

    chosen, name = name is not None, name or name_from(folder.name)
    try:
        converted = conversion_run(folder, conversion)
        made = converted.output()
        assert made is not None, "a conversion has an output"
        with Registry(location.url, waiting=progress) as store:
            source = converted.edges[0].artifact.digest
            before = None if chosen else name_of_another(store, name, source, made.digest)
            signatures = signatures_of_source(converted, conversion)
            refused = record_named(store, converted, {name: made.digest}, signatures)
    except (RegistryError, RefusedRequest, OSError) as error:
        again = f"{folder} is kept, `llorch-registry adopt {folder}` records it"
        return recording_failure(location, error, again)
    if refused:
        return RecordResult(location.shown, made.digest, made.digest, refused=refused[0])
    return RecordResult(location.shown, name, made.digest, before)


def signatures_of_source(converted: RunRecord, conversion: Mapping[str, Any]) -> list[SignatureRecord]:
    """Who signed the source, as this very conversion has verified it: what a folder says of itself proves nothing."""
    from llorch.registry import SignatureRecord

    signed = conversion["source_signature"]
    if signed is None or converted.finished_at is None:
        return []
    digest, file = converted.edges[0].artifact.digest, signed["files"][0]["name"]
    return [SignatureRecord(digest, signed["signer"], file, converted.finished_at)]


def record_named(
    store: Registry, run: RunRecord, names: Mapping[str, str], signatures: Sequence[SignatureRecord] = ()
) -> list[str]:
    """Records a run and what its outputs are called; without the names that a policy refuses, of which it says why."""
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


def name_of_another(store: Registry, name: str, source: str, made: str) -> str | None:
    """The digest that a name means by now, if that is neither `made` nor was made of this source, else None."""
    changes = store.alias_log(f"{name}@latest")
    known = changes[0].digest if changes else None
    if known is None or known in (source, made):
        return None
    made_of = {arrow.digest for arrow in store.lineage(known).arrows if arrow.role == "input"}
    return None if source in made_of else known


def name_taken(recorded: RecordResult) -> str | None:
    """What a person should know of a name that was somebody else's; None where it was not."""
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
    """Records, as `run`, that a folder was verified, or could not be; None if it is not recorded itself.

    The folder is what its conversion.json says; a failure says how to verify it again.
    """
    from llorch.commands.ledger.conversion import conversion_run, verification_run  # as in `record`
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
    """Records that somebody's signature of a model was verified; None if the registry does not know the model.

    files: path → SHA-256 as read now, of a file itself by ".". signature: the name of the file that holds it.
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
    """Why a registry was not told, and how it still can be."""
    what = os_error_line(error) if isinstance(error, OSError) else str(error)
    named = what if location.shown in what else f"{location.shown}: {what}"
    return Failure(4, str(getattr(error, "reason", "unreachable")), f"{named}; {again}")


def adopt_folder(folder: Path, name: str | None, location: Location) -> RecordResult:
    """Records a converted folder by its conversion.json, once its files are found to be those listed there.

    Raises InputError for a folder that is no such thing or was changed, OSError, RegistryError, and RefusedByPolicy
    when it is recorded and does not get its name.
    """
    from llorch.commands.ledger.conversion import conversion_run  # as in `record`
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
    """An option's `name` if the registry takes it, so that it is refused before any work."""
    if name is not None:
        try:
            parse_alias(name)
        except InvalidReference as error:
            raise click.BadParameter(str(error), param=parameter) from error
    return name
