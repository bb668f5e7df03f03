"""`reproduce`: the command that repeats a recorded run, and the digests that must result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select

from llorch.registry.database.schema import artifact, location
from llorch.registry.errors import ChangedInput, InvalidReference, UnknownReference, printable
from llorch.registry.query.integrity import ExpectedArtifact, recorded_files, verify_place
from llorch.registry.query.lookup import run_answer
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import FileRecord, Json

PROGRAM = "llorch-convert"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How to repeat a run. arguments: the command, without the option for the output folder.

    input: the digest of the input. files: its files. path: where it was last seen on this host; places: all paths where
    it was. tree, weights: digests of the run's output; equal weights mean the same model, an equal tree the same files.
    """

    run: str
    arguments: Sequence[str]
    input: str
    files: Sequence[FileRecord]
    path: str
    places: Sequence[str]
    tree: str | None
    weights: str | None
    tools: Mapping[str, str]

    def to_json(self) -> dict[str, Json]:
        """Return the document of `reproduce`."""
        return {"schema": "llorch.reproduction/v1", **as_json(self)}

    def from_whole_input(self) -> Reproduction:
        """Return the reproduction with a path at which the input is unchanged; reads every byte of it.

        Raises ChangedInput if there is none, OSError for a file that cannot be read.
        """
        found = [
            verify_place(ExpectedArtifact(self.input, [], place, False, self.files, []), "full")
            for place in self.places
        ]
        for one in found:
            if one.is_intact:
                return replace(self, path=one.path, arguments=[PROGRAM, one.path, *self.arguments[2:]])
        raise ChangedInput(
            f"run {self.run} was made of {self.input}, and "
            + "; ".join(
                f"'{printable(one.path)}' {'is gone' if one.is_gone else 'is another file now'}"
                for one in found
            )
        )


def reproduction(connection: Connection, run_id: int, host: str) -> Reproduction:
    """Return how to repeat a run. Raises InvalidReference for a run that isn't a successful conversion, and
    UnknownReference if its input was never seen on this host.
    """
    recorded = run_answer(connection, run_id)
    if recorded.kind != "convert" or recorded.status != "succeeded":
        raise InvalidReference(
            f"run {recorded.uid} is a {recorded.kind} that is {recorded.status}; no command makes it again"
        )
    inputs = [edge for edge in recorded.edges if edge.role == "input"]
    seen = connection.execute(
        select(location.c.path, location.c.artifact_id, artifact.c.digest)
        .join(artifact, artifact.c.id == location.c.artifact_id)
        .where(
            artifact.c.digest.in_([edge.digest for edge in inputs]),
            location.c.host == host,
            location.c.gone_at.is_(None),
        )
        .order_by(location.c.seen_at.desc(), location.c.path)
    ).all()
    if not seen:
        wanted = ", ".join(edge.digest for edge in inputs)
        raise UnknownReference(recorded.uid, hint=f"its input {wanted} was not seen on this host")
    made = next((edge.digest for edge in recorded.edges if edge.role == "output"), None)
    weights = select(artifact.c.weights_digest).where(artifact.c.digest == made)
    return Reproduction(
        run=recorded.uid,
        arguments=[PROGRAM, seen[0].path, *options(recorded.params)],
        input=seen[0].digest,
        files=recorded_files(connection, seen[0].artifact_id),
        path=seen[0].path,
        places=[row.path for row in seen],
        tree=made,
        weights=connection.execute(weights).scalar_one_or_none() if made else None,
        tools=recorded.tools,
    )


def options(params: Mapping[str, Json]) -> list[str]:
    """Return parameters as command-line options: `max_shard_size: 5` is `--max-shard-size 5`, `strict: true` a flag.

    An object gives one option per key: `set: {"hidden_act": "silu", "rows": 3}` is
    `--set 'hidden_act="silu"' --set rows=3`.
    """
    words: list[str] = []
    for name, value in sorted(params.items()):
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, dict):
            for key, one in sorted(value.items()):
                words += [option, f"{key}={json.dumps(one, ensure_ascii=False)}"]
        elif value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words
