"""`reproduce`: the command that makes a recorded run again, and what must come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from registry.answers import as_json
from registry.errors import InvalidReference, UnknownReference
from registry.lookup import run_answer
from registry.records import Json
from registry.schema import artifact, location

PROGRAM = "llorch-convert"


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How a run is made again. arguments: the command, without where its result is to be written.

    input: the digest of what goes in, path: where that was seen on this host. tree, weights: digests of what the
    run made; equal weights are the same model, an equal tree the same files.
    """

    run: str
    arguments: Sequence[str]
    input: str
    path: str
    tree: str | None
    weights: str | None
    tools: Mapping[str, str]

    def to_json(self) -> dict[str, Json]:
        """The document of `reproduce`."""
        return {"schema": "llorch.reproduction/v1", **as_json(self)}


def reproduction(connection: Connection, run_id: int, host: str) -> Reproduction:
    """What has to be done. Raises InvalidReference for a run that no command makes again, UnknownReference when
    its input was never seen on this host.
    """
    told = run_answer(connection, run_id)
    if told.kind != "convert" or told.status != "succeeded":
        raise InvalidReference(
            f"run {told.uid} is a {told.kind} that is {told.status}; no command makes it again"
        )
    inputs = [edge for edge in told.edges if edge.role == "input"]
    places = connection.execute(
        select(location.c.path)
        .join(artifact, artifact.c.id == location.c.artifact_id)
        .where(
            artifact.c.digest.in_([edge.digest for edge in inputs]),
            location.c.host == host,
            location.c.gone_at.is_(None),
        )
        .order_by(location.c.seen_at.desc(), location.c.path)
    )
    path = places.scalars().first()
    if path is None:
        wanted = ", ".join(edge.digest for edge in inputs)
        raise UnknownReference(told.uid, hint=f"its input {wanted} was not seen on this host")
    made = next((edge.digest for edge in told.edges if edge.role == "output"), None)
    weights = select(artifact.c.weights_digest).where(artifact.c.digest == made)
    return Reproduction(
        run=told.uid,
        arguments=[PROGRAM, path, *options(told.params)],
        input=inputs[0].digest,
        path=path,
        tree=made,
        weights=connection.execute(weights).scalar_one_or_none() if made else None,
        tools=told.tools,
    )


def options(params: Mapping[str, Json]) -> list[str]:
    """Parameters as a command's options: `max_shard_size: 5` is `--max-shard-size 5`, `strict: true` a flag."""
    words: list[str] = []
    for name, value in sorted(params.items()):
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words
