"""`affected`: the artifacts that a (faulty) version of a tool made, and everything made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version
from sqlalchemy import Connection, select

from llorch.registry.database.schema import artifact, location, run, run_io, run_tool
from llorch.registry.errors import InvalidReference, quote_text
from llorch.registry.query.current import names_of, sorted_names
from llorch.registry.query.history import batches
from llorch.registry.query.lineage import find_related
from llorch.registry.records.answers import as_json
from llorch.registry.records.records import Json


@dataclass(frozen=True, slots=True)
class Affected:
    """An artifact that the version made (`directly`), or that was made from one. places: HOST:PATH."""

    digest: str
    kind: str
    architecture: str | None
    names: Sequence[str]
    directly: bool
    places: Sequence[str]

    def to_json(self) -> dict[str, Json]:
        """Return the answer as one JSON object."""
        return as_json(self)


def find_affected(connection: Connection, builder: str, architecture: str | None) -> list[Affected]:
    """Return what versions of a tool (such as `llorch<0.3`) made, of one architecture or of any, and its descendants.

    Versions are compared as versions, not as text. Raises InvalidReference for an invalid condition.
    """
    made = made_by(connection, condition(builder))
    if architecture is not None:
        wanted = select(artifact.c.id).where(artifact.c.architecture == architecture)
        made &= set(connection.execute(wanted).scalars())
    found: list[Affected] = []
    for some in batches(sorted(find_related(connection, made, up=False))):
        statement = select(artifact, names_of(artifact).label("names")).where(artifact.c.id.in_(some))
        for row in connection.execute(statement).all():
            places = connection.execute(
                select(location.c.host, location.c.path)
                .where(location.c.artifact_id == row.id, location.c.gone_at.is_(None))
                .order_by(location.c.host, location.c.path)
            )
            at = [f"{place.host}:{place.path}" for place in places]
            names = sorted_names(row.names)
            found.append(Affected(row.digest, row.kind, row.architecture, names, row.id in made, at))
    return sorted(found, key=lambda one: (not one.directly, one.digest))


def condition(text: str) -> Requirement:
    """Parse a tool and its versions, in the syntax of Python requirements."""
    try:
        return Requirement(text)
    except InvalidRequirement:
        raise InvalidReference(f"{quote_text(text)} names no versions of a tool; as llorch<0.3") from None


def made_by(connection: Connection, builder: Requirement) -> set[int]:
    """Return the ids of the outputs of runs that used such a version."""
    versions = connection.execute(
        select(run_tool.c.version).where(run_tool.c.name == builder.name).distinct()
    ).scalars()
    statement = (
        select(run_io.c.artifact_id)
        .join(run, run.c.id == run_io.c.run_id)
        .join(run_tool, run_tool.c.run_id == run.c.id)
        .where(
            run_io.c.role == "output",
            run_tool.c.name == builder.name,
            run_tool.c.version.in_([version for version in versions if meets(builder, version)]),
        )
    )
    return set(connection.execute(statement).scalars())


def meets(builder: Requirement, version: str) -> bool:
    """Return whether a version meets the condition; one that isn't a Python version only meets an empty one."""
    try:
        return builder.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return not builder.specifier
