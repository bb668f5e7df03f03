"""`merge`: the union of two registries; commutative and idempotent.

Every fact has an identity that needs no coordinator: a digest, a run's uid, an event's uid. Facts with the same
identity must be equal, or the whole merge is refused. A merge never removes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from llorch.registry.database.schema import alias_event, policy_event
from llorch.registry.database.upgrade import row_counts
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json
from llorch.registry.write.aliases import heads
from llorch.registry.write.dump import Facts
from llorch.registry.write.policies import record_signature
from llorch.registry.write.recording import insert_new, record_artifact, record_run


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge added. moved: aliases whose digest changed → [before, after]."""

    artifacts: int
    runs: int
    events: int
    moved: Mapping[str, Sequence[str | None]]

    def to_json(self) -> dict[str, Json]:
        """Return the document of `merge`."""
        return {"schema": "llorch.merge/v1", **as_json(self)}


def merge(connection: Connection, theirs: Facts) -> MergeResult:
    """Add another registry's facts. Raises ConflictingRecord; then the transaction adds nothing."""
    before, meant = row_counts(connection), heads(connection)
    for artifact, first_seen_at in theirs.artifacts:
        record_artifact(connection, artifact, first_seen_at)
    for run in theirs.runs:
        record_run(connection, run)
    for event in theirs.events:
        connection.execute(insert_new(connection, alias_event).values(asdict(event)))
    for signature in theirs.signatures:
        record_signature(connection, signature)
    for policy in theirs.policies:
        connection.execute(insert_new(connection, policy_event).values(asdict(policy)))
    after, means = row_counts(connection), heads(connection)
    moved = {name: [meant[name], means.get(name)] for name in sorted(meant) if meant[name] != means.get(name)}
    added = {table: after[table] - before[table] for table in after}
    return MergeResult(added["artifact"], added["run"], added["alias_event"], moved)
