"""The registry: it records artifacts, runs and checks, and answers queries by digest, name and run.

Each call of `record` is one transaction. Hashing is done by the caller beforehand, so a transaction contains only the
inserts.
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
    """A registry in an SQLite file, which is created by the first write, or on a PostgreSQL server.

    url: a path or a SQLAlchemy URL. timeout_s: how long to wait for other writers. waiting: called with a text, returns
    a context manager that is active while waiting for other writers or hashing files, and yields a progress. Nothing
    is opened here; every method may raise the RegistryError classes of `llorch.registry.errors`.

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
        """Close the connections to a server; a file has none open between calls."""
        self._database.engine.dispose()

    def migrate(self) -> tuple[str | None, str]:
        """Upgrade the schema to this program's; return the revision before (None: no tables) and after."""
        return migrate(self._database)

    def record(
        self,
        *runs: RunRecord,
        signatures: Sequence[SignatureRecord] = (),
        names: Mapping[str, str] | None = None,
        at: datetime | None = None,
    ) -> None:
        """Record runs with their artifacts, signatures, and then names; recording a run twice has no effect.

        names: `name` or `name@alias` → the digest that it refers to from `at` on, now by default.
        Raises ConflictingRecord, InvalidReference, RefusedByPolicy for a name that requires a signature, and
        UnknownReference for an unknown digest.
        """
        from llorch.registry.write import recording  # not needed for queries
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
        """Set `name` or `name@alias` to the artifact of a reference, or remove it for None; return the digest.

        Raises what `show` does, RefusedByPolicy for a name that requires a signature, and UnknownReference for the
        removal of an unknown name.
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
        """Return the changes of a name's aliases, or of one `name@alias`, the latest first."""
        with self._reading() as connection:
            return aliases.alias_log(connection, name) if connection else []

    def set_policy(
        self, name: str, signers: Sequence[str], *, actor: str | None = None, reason: str | None = None
    ) -> Policy:
        """Require a signature by any one of `signers` for `name` or `name@alias` from now on; for [] require none.

        The name's artifact is unchanged; if it has no such signature, its use by this name is refused. Raises
        InvalidReference and RefusedRecord.
        """
        from llorch.registry.write.policies import set_policy  # not needed for queries

        require_current(self._database, write=True)
        with self._database.writing() as connection:
            set_policy(connection, name, signers, at=datetime.now(UTC), actor=actor, reason=reason)
            return policies.policy_log(connection, *parse_alias(name))[0]

    def policies(self) -> Sequence[Policy]:
        """Return the policies of all names that require a signature."""
        with self._reading() as connection:
            return policies.policies_in_force(connection) if connection else []

    def policy_log(self, name: str) -> Sequence[Policy]:
        """Return the changes of the policy of `name` or `name@alias`, the latest first."""
        wanted = parse_alias(name)
        with self._reading() as connection:
            return policies.policy_log(connection, *wanted) if connection else []

    def require_allowed(self, reference: str) -> None:
        """Raise RefusedByPolicy if `reference` is a name that requires a signature that its artifact doesn't have.

        A digest or a path requires none. Raises what `show` does.
        """
        wanted = parse_reference(reference)
        if isinstance(wanted, NameReference):
            with self._artifact(reference) as (connection, artifact_id):
                digest = lookup.digest_of(connection, artifact_id)
                policies.require_allowed(connection, wanted.name, wanted.alias, digest)

    def merge(self, other: Registry) -> MergeResult:
        """Add everything in another registry except locations; the other one is unchanged.

        Raises ConflictingRecord, and then nothing was added.
        """
        from llorch.registry.write import merge as merging  # not needed for queries
        from llorch.registry.write.dump import Facts, facts_of

        with other._reading() as connection:
            theirs = facts_of(connection) if connection else Facts([], [], [])
        require_current(self._database, write=True)
        with self._database.writing() as connection:
            return merging.merge(connection, theirs)

    def facts(self) -> Facts:
        """Return everything that is recorded, except locations."""
        from llorch.registry.write.dump import Facts, facts_of  # as in `merge`

        with self._reading() as connection:
            return facts_of(connection) if connection else Facts([], [], [])

    def prune(self, host: str, *, remove: bool) -> Sequence[Prunable]:
        """Return the folders on this host that conversions made and no name refers to; with `remove`, delete them.

        Returns the folders that were, or would be, removed; a folder whose content differs from its record is kept.
        Raises OSError if one cannot be removed; those before it are removed, and recorded as gone.
        """
        with self._reading() as connection:
            found = prune.prunable(connection, host) if connection else []
        if not remove:
            return found
        removed: list[Prunable] = []
        # fails here, before anything is deleted, if it can't be recorded
        with self._database.writing() as connection:
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
        """Return the outputs of runs, the latest first; all of them if `limit` is None."""
        with self._reading() as connection:
            return listing.list_artifacts(connection, filter or Filter(), limit) if connection else []

    def history(
        self, reference: str | None = None, *, kind: RunKind | None = None, limit: int | None = 30
    ) -> Sequence[ListedRun]:
        """Return the runs of an artifact, or all runs, the latest first. Raises what `show` does."""
        if reference is None:
            with self._reading() as connection:
                return list_runs(connection, artifact_id=None, kind=kind, limit=limit) if connection else []
        with self._artifact(reference) as (connection, artifact_id):
            return list_runs(connection, artifact_id=artifact_id, kind=kind, limit=limit)

    def show(self, reference: str) -> ArtifactAnswer | RunAnswer:
        """Return everything recorded about an artifact or a run; for a path, its content is hashed.

        Raises InvalidReference, UnknownReference, AmbiguousReference, and OSError for a path.
        """
        with self._find(reference) as (connection, found):
            if found.kind == "run":
                return lookup.run_answer(connection, found.id)
            return lookup.artifact_answer(connection, found.id)

    def lineage(self, reference: str) -> Lineage:
        """Return what an artifact was made from and what was made from it. Raises what `show` does."""
        with self._artifact(reference) as (connection, artifact_id):
            return lineage_of(connection, artifact_id)

    def diff(self, first: str, second: str) -> ArtifactDiff:
        """Return how two artifacts differ. Raises what `show` does."""
        other = self._parse(second)
        with self._artifact(first) as (connection, artifact_id):
            return diff_artifacts(connection, artifact_id, lookup.find_artifact(connection, second, other))

    def export(self, reference: str, form: Form) -> bytes:
        """Export an artifact's records in another format; the result is the same bytes from every database.

        Raises what `show` does, and UnknownReference for an artifact that no run made.
        """
        from llorch.registry.export.forms import WRITERS  # 20 ms that other queries do not need
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
        """Identify a file or folder on the disk by its content. Raises OSError and RefusedRecord.

        tensors, metadata: of a GGUF file, whose header the registry does not read; with them it can be identified by
        its weights.
        """
        found = look_at(path, progress, tensors, metadata)
        with self._reading() as connection:
            return (
                identify(connection, found)
                if connection
                else Identification(found.path, found.digest, None, [])
            )

    def affected(self, builder: str, architecture: str | None = None) -> Sequence[Affected]:
        """Return what versions of a tool, such as `llorch<0.3`, made, and everything made from that."""
        from llorch.registry.query.affected import find_affected

        with self._reading() as connection:
            return find_affected(connection, builder, architecture) if connection else []

    def reproduction(self, reference: str, host: str) -> Reproduction:
        """Return the command that repeats a run. Raises what `show` does, and InvalidReference."""
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
        """Compare the files on this host with their records: at one artifact's locations, or at all.

        Locations found intact or gone are recorded as such. Raises OSError for a file that cannot be read, what `show`
        does, and UnknownReference for an artifact that was never seen on this host.
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
        """Record which locations a full verification found intact, and which are gone."""
        whole = [one.path for one in found if one.is_intact and one.level == "full"]
        gone = [one.path for one in found if one.is_gone]
        if whole or gone:
            # The result stands even if it cannot be recorded on a read-only disk.
            with suppress(RegistryReadOnly), self._database.writing() as connection:
                prune.note_verified(connection, host, whole, datetime.now(UTC))
                prune.note_gone(connection, host, gone, datetime.now(UTC))

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """Open a read transaction; yields None if there is no registry yet."""
        if not require_current(self._database, write=False):
            yield None
            return
        with self._database.reading() as connection:
            yield connection

    @contextmanager
    def _find(self, reference: str) -> Iterator[tuple[Connection, lookup.Match]]:
        """Open a read transaction and resolve a reference in it."""
        wanted = self._parse(reference)
        with self._reading() as connection:
            if connection is None:
                raise UnknownReference(reference, hint=f"there is no registry at {self._database.shown} yet")
            yield connection, lookup.find(connection, reference, wanted)

    @contextmanager
    def _artifact(self, reference: str) -> Iterator[tuple[Connection, int]]:
        """Like `_find`, for a reference that must be an artifact; yields its id."""
        with self._find(reference) as (connection, found):
            yield connection, lookup.artifact_id(reference, found)

    def _parse(self, reference: str) -> Reference | str:
        """Parse a reference; a path is replaced by the digest of its content, hashed outside of a transaction."""
        parsed = parse_reference(reference)
        if isinstance(parsed, PathReference):
            path = expand_home(parsed.path)
            with self._waiting(f"hashing {path.name}") as progress:
                return digest_of(path, progress)
        return parsed
