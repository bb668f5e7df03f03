"""`prune`: delete converted folders that no name refers to any more, and keep their records."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, select, update

from llorch.base.progress import Progress
from llorch.registry.database.schema import artifact, location, run, run_io
from llorch.registry.digests import EXCLUDED, digest_of
from llorch.registry.errors import RefusedRecord
from llorch.registry.query.current import alias_heads
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json


@dataclass(frozen=True, slots=True)
class Prunable:
    """A folder on this host that a conversion made and that no name refers to."""

    digest: str
    path: str
    size_bytes: int

    def to_json(self) -> dict[str, Json]:
        """Return the answer as one JSON object."""
        return as_json(self)


def prunable(connection: Connection, host: str) -> list[Prunable]:
    """Return the folders that `prune` would remove: only outputs of conversions, never a download or another file."""
    named = alias_heads().subquery("named")
    made = (
        select(run_io.c.artifact_id)
        .join(run, run.c.id == run_io.c.run_id)
        .where(run_io.c.role == "output", run.c.kind == "convert")
    )
    statement = (
        select(*artifact.c["digest", "size_bytes"], location.c.path)
        .join(location, location.c.artifact_id == artifact.c.id)
        .where(
            location.c.host == host,
            location.c.gone_at.is_(None),
            artifact.c.kind == "hf-folder",
            artifact.c.id.in_(made),
            artifact.c.digest.not_in(select(named.c.digest)),
        )
        .order_by(location.c.path)
    )
    return [Prunable(row.digest, row.path, row.size_bytes) for row in connection.execute(statement)]


def remove(found: Prunable, progress: Progress | None = None) -> bool:
    """Delete a folder if its content is exactly as recorded; return False otherwise.

    Raises OSError if it cannot be read or removed.
    """
    path = Path(found.path)
    try:
        more = path.is_symlink() or any((path / name).exists() for name in EXCLUDED)
        if more or digest_of(path, progress) != found.digest:
            return False
    except (FileNotFoundError, RefusedRecord):
        return False
    shutil.rmtree(path)
    return True


def note_gone(connection: Connection, host: str, paths: Sequence[str], at: datetime) -> None:
    """Record that these locations of a host are gone."""
    connection.execute(
        update(location).where(location.c.host == host, location.c.path.in_(paths)).values(gone_at=at)
    )


def note_verified(connection: Connection, host: str, paths: Sequence[str], at: datetime) -> None:
    """Record that the content at these locations was found as recorded."""
    connection.execute(
        update(location)
        .where(location.c.host == host, location.c.path.in_(paths))
        .values(verified_at=at, gone_at=None)
    )
