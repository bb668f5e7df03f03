"""The registry: told what was made from what and what was checked, it answers by digest, name and run.

Everything told at once is recorded at once or not at all. Whoever tells has hashed already: a transaction
holds nothing but its inserts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from llorch.base.home import expand_home
from llorch.base.progress import Progress, Waiting, not_shown
from llorch.registry.database.engine import TIMEOUT_S, Database
from llorch.registry.database.upgrade import migrate, require_current
from llorch.registry.digests import digest_of
from llorch.registry.errors import InvalidReference, RegistryReadOnly, UnknownReference, quote_text
from llorch.registry.query import listing, lookup, policies
from llorch.registry.query.diff import ArtifactDiff, diff_artifacts
from llorch.registry.query.history import ListedRun, list_runs
from llorch.registry.query.identify import Identification, identify, look_at
from llorch.registry.query.integrity import Integrity, Level, expected_at, verify_place
from llorch.registry.query.lineage import Lineage, lineage_of
from llorch.registry.query.listing import Filter
from llorch.registry.query.reference import (
    NameReference,
    PathReference,
    Reference,
    parse_alias,
    parse_reference,
)
from llorch.registry.query.reproduce import Reproduction, reproduction
from llorch.registry.records.answers import ArtifactAnswer, ListedArtifact, Policy, RunAnswer
from llorch.registry.records.records import RunKind, RunRecord, SignatureRecord, TensorRecord
from llorch.registry.write import aliases, prune
from llorch.registry.write.aliases import AliasChange
from llorch.registry.write.prune import Prunable

if TYPE_CHECKING:
    from llorch.registry.export.forms import Form
    from llorch.registry.query.affected import Affected
    from llorch.registry.write.dump import Facts
    from llorch.registry.write.merge import MergeResult


class Registry:
    """A registry in an SQLite file, which is made when something is recorded, or on a PostgreSQL server.

    url: a path or a SQLAlchemy URL. timeout_s: how long to wait for other writers. waiting: within what it gives, other
    writers are waited for, and files are hashed. Nothing is opened here; every method may raise what
    `llorch.registry.errors` draws under RegistryError.

    >>> with Registry("registry.db") as registry:
    ...     registry.list()
    []
    """

    def __init__(
        self, url: str | os.PathLike[str], *, timeout_s: float = TIMEOUT_S, waiting: Waiting = not_shown
    ) -> None:
        self._database = Database(url, timeout_s=timeout_s, waiting=waiting)
        self._waiting = waiting

    def __enter__(self) -> Registry:
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives back the connections to a server; a file holds none between two calls."""
        self._database.engine.dispose()

    def migrate(self) -> tuple[str | None, str]:
        """Brings the schema to this program's; returns the revision before (None: no tables) and after."""
        return migrate(self._database)

    def record(
        self,
        *runs: RunRecord,
        signatures: Sequence[SignatureRecord] = (),
        names: Mapping[str, str] | None = None,
        at: datetime | None = None,
    ) -> None:
        """Records runs with all they touched, signatures, and then names; a run told twice is recorded once.

        names: `name` or `name@alias` → the digest that it means from `at` on, now by default.
        Raises ConflictingRecord, InvalidReference, RefusedByPolicy for a name that demands a signature and, for a
        digest that nothing has, UnknownReference.
        """
        from llorch.registry.write import recording  # questions do without these
        from llorch.registry.write.policies import record_signature

        require_current(self._database, write=True)
        with self._database.writing() as connection:
            for run in runs:
                recording.record_run(connection, run)
            for signature in signatures:
                record_signature(connection, signature)
            for name, digest in (names or {}).items():
                aliases.set_alias(connection, name, digest, at=at or datetime.now(UTC))

    def set_alias(
        self, name: str, reference: str | None, *, actor: str | None = None, reason: str | None = None
    ) -> str | None:
        """Lets `name` or `name@alias` mean what a reference does, nothing if it is None; returns the digest.

        Raises what `show` does, RefusedByPolicy for a name that demands a signature, and UnknownReference for the
        removal of a name that there is not.
        """
        wanted = None if reference is None else self._parse(reference)
        require_current(self._database, write=True)
        with self._database.writing() as connection:
            digest = None
            if wanted is not None:
                digest = lookup.digest_of(
                    connection, lookup.find_artifact(connection, str(reference), wanted)
                )
            elif "@".join(parse_alias(name)) not in aliases.heads(connection):
                raise UnknownReference(name)
            aliases.set_alias(connection, name, digest, at=datetime.now(UTC), actor=actor, reason=reason)
            return digest

    def alias_log(self, name: str) -> Sequence[AliasChange]:
        """What a name's aliases, or one `name@alias`, meant when; the latest change first."""
        with self._reading() as connection:
            return aliases.alias_log(connection, name) if connection else []

    def set_policy(
        self, name: str, signers: Sequence[str], *, actor: str | None = None, reason: str | None = None
    ) -> Policy:
        """Lets `name` or `name@alias` demand a signature by one of some signers from now on; nothing if none is given.

        What the name means stays; where that has no such signature, its use is refused. Raises InvalidReference and
        RefusedRecord.
        """
        from llorch.registry.write.policies import set_policy  # questions do without it

        require_current(self._database, write=True)
        with self._database.writing() as connection:
            set_policy(connection, name, signers, at=datetime.now(UTC), actor=actor, reason=reason)
            return policies.policy_log(connection, *parse_alias(name))[0]

    def policies(self) -> Sequence[Policy]:
        """Every name that demands a signature."""
        with self._reading() as connection:
            return policies.policies_in_force(connection) if connection else []

    def policy_log(self, name: str) -> Sequence[Policy]:
        """What `name` or `name@alias` demanded when; the latest change first."""
        wanted = parse_alias(name)
        with self._reading() as connection:
            return policies.policy_log(connection, *wanted) if connection else []

    def require_allowed(self, reference: str) -> None:
        """RefusedByPolicy if `reference` is a name that demands a signature which its artifact does not have.

        A digest or a path demands nothing. Raises what `show` does.
        """
        wanted = parse_reference(reference)
        if isinstance(wanted, NameReference):
            with self._artifact(reference) as (connection, artifact_id):
                digest = lookup.digest_of(connection, artifact_id)
                policies.require_allowed(connection, wanted.name, wanted.alias, digest)

    def merge(self, other: Registry) -> MergeResult:
        """Adds all that another registry knows, but for where things lie; that one stays as it is.

        Raises ConflictingRecord, and then nothing was added.
        """
        from llorch.registry.write import merge as merging  # questions do without these
        from llorch.registry.write.dump import Facts, facts_of

        with other._reading() as connection:
            theirs = facts_of(connection) if connection else Facts([], [], [])
        require_current(self._database, write=True)
        with self._database.writing() as connection:
            return merging.merge(connection, theirs)

    def facts(self) -> Facts:
        """Everything that is recorded, but for where things lie."""
        from llorch.registry.write.dump import Facts, facts_of  # as in `merge`

        with self._reading() as connection:
            return facts_of(connection) if connection else Facts([], [], [])

    def prune(self, host: str, *, remove: bool) -> Sequence[Prunable]:
        """Folders on this host that conversions made and no name means; `remove` takes their bytes away.

        What is returned was, or would be, removed; a folder that holds anything else is left alone. Raises
        OSError when one cannot be removed; those before it are gone and recorded to be.
        """
        with self._reading() as connection:
            found = prune.prunable(connection, host) if connection else []
        if not remove:
            return found
        removed: list[Prunable] = []
        with self._database.writing() as connection:  # what could not be recorded is not begun
            prune.note_gone(connection, host, [], datetime.now(UTC))
        try:
            for one in found:
                with self._waiting(f"hashing {Path(one.path).name}") as progress:
                    removed += [one] if prune.remove(one, progress) else []
        finally:
            if removed:
                with self._database.writing() as connection:
                    paths = [one.path for one in removed]
                    prune.note_gone(connection, host, paths, datetime.now(UTC))
        return removed

    def list(self, filter: Filter | None = None, *, limit: int | None = 30) -> Sequence[ListedArtifact]:
        """Artifacts that runs made, the latest first; all of them if `limit` is None."""
        with self._reading() as connection:
            return listing.list_artifacts(connection, filter or Filter(), limit) if connection else []

    def history(
        self, reference: str | None = None, *, kind: RunKind | None = None, limit: int | None = 30
    ) -> Sequence[ListedRun]:
        """Runs, of an artifact or of all, the latest first. Raises what `show` does."""
        if reference is None:
            with self._reading() as connection:
                return list_runs(connection, artifact_id=None, kind=kind, limit=limit) if connection else []
        with self._artifact(reference) as (connection, artifact_id):
            return list_runs(connection, artifact_id=artifact_id, kind=kind, limit=limit)

    def show(self, reference: str) -> ArtifactAnswer | RunAnswer:
        """Everything recorded of what a reference means; what a path holds is hashed.

        Raises InvalidReference, UnknownReference, AmbiguousReference, and OSError for a path.
        """
        with self._find(reference) as (connection, found):
            if found.kind == "run":
                return lookup.run_answer(connection, found.id)
            return lookup.artifact_answer(connection, found.id)

    def lineage(self, reference: str) -> Lineage:
        """What an artifact came from and what came from it. Raises what `show` does."""
        with self._artifact(reference) as (connection, artifact_id):
            return lineage_of(connection, artifact_id)

    def diff(self, first: str, second: str) -> ArtifactDiff:
        """In what two artifacts differ. Raises what `show` does."""
        other = self._parse(second)
        with self._artifact(first) as (connection, artifact_id):
            return diff_artifacts(connection, artifact_id, lookup.find_artifact(connection, second, other))

    def export(self, reference: str, form: Form) -> bytes:
        """What is recorded of an artifact, in another format: the same bytes on every database.

        Raises what `show` does, and UnknownReference for an artifact that no run made.
        """
        from llorch.registry.export.forms import WRITERS  # 20 ms, and other questions do without
        from llorch.registry.export.subject import subject_of

        with self._artifact(reference) as (connection, artifact_id):
            asked = parse_reference(reference)
            name = asked if isinstance(asked, NameReference) else None
            subject = subject_of(connection, artifact_id, name)
        return WRITERS[form](subject)

    def whence(
        self,
        path: Path,
        progress: Progress | None = None,
        *,
        tensors: Sequence[TensorRecord] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Identification:
        """Where a file or folder on the disk comes from. Raises OSError and RefusedRecord.

        tensors, metadata: of a GGUF file, whose header the registry does not read; with them it is known by its
        weights.
        """
        found = look_at(path, progress, tensors, metadata)
        with self._reading() as connection:
            return (
                identify(connection, found)
                if connection
                else Identification(found.path, found.digest, None, [])
            )

    def affected(self, builder: str, architecture: str | None = None) -> Sequence[Affected]:
        """What versions of a tool made, as `llorch<0.3`, and all that was made of it."""
        from llorch.registry.query.affected import find_affected

        with self._reading() as connection:
            return find_affected(connection, builder, architecture) if connection else []

    def reproduction(self, reference: str, host: str) -> Reproduction:
        """The command that makes a run again. Raises what `show` does, and InvalidReference."""
        with self._find(reference) as (connection, found):
            if found.kind != "run":
                raise InvalidReference(f"{quote_text(reference)} is an artifact; a run is made again")
            return reproduction(connection, found.id, host)

    def verify(
        self,
        host: str,
        reference: str | None = None,
        *,
        level: Level = "full",
        progress: Progress | None = None,
    ) -> Sequence[Integrity]:
        """Compares what lies on this host with what is recorded: one artifact's places, or every one.

        What was found whole or gone is noted. Raises OSError for a file that cannot be read, what `show` does,
        and UnknownReference for an artifact that was never seen on this host.
        """
        if reference is None:
            with self._reading() as connection:
                expected = expected_at(connection, host, None) if connection else []
        else:
            with self._artifact(reference) as (connection, artifact_id):
                expected = expected_at(connection, host, artifact_id)
            if not expected:
                raise UnknownReference(reference, hint="it was never seen on this host")
        found = [verify_place(one, level, progress) for one in expected]
        self._note(host, found)
        return found

    def _note(self, host: str, found: Sequence[Integrity]) -> None:
        """Remembers which places were found whole by a full look, and which are empty."""
        whole = [one.path for one in found if one.is_intact and one.level == "full"]
        gone = [one.path for one in found if one.is_gone]
        if whole or gone:
            # What was found is the answer; that a disk cannot be written changes none of it.
            with suppress(RegistryReadOnly), self._database.writing() as connection:
                prune.note_verified(connection, host, whole, datetime.now(UTC))
                prune.note_gone(connection, host, gone, datetime.now(UTC))

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """A transaction that reads; None where there is no registry yet."""
        if not require_current(self._database, write=False):
            yield None
            return
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def _find(self, reference: str) -> Iterator[tuple[Connection, lookup.Match]]:
        """A transaction that reads, and what a reference means in it."""
        wanted = self._parse(reference)
        with self._reading() as connection:
            if connection is None:
                raise UnknownReference(reference, hint=f"there is no registry at {self._database.shown} yet")
            yield connection, lookup.find(connection, reference, wanted)

    @contextmanager
    def _artifact(self, reference: str) -> Iterator[tuple[Connection, int]]:
        """As `_found`, of a reference that must mean an artifact."""
        with self._find(reference) as (connection, found):
            yield connection, lookup.artifact_id(reference, found)

    def _parse(self, reference: str) -> Reference | str:
        """A reference's meaning by its form; of a path the digest of what lies there, before a transaction."""
        parsed = parse_reference(reference)
        if isinstance(parsed, PathReference):
            path = expand_home(parsed.path)
            with self._waiting(f"hashing {path.name}") as progress:
                return digest_of(path, progress)
        return parsed
