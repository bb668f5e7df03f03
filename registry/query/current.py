"""Parts of SQL statements for the current state: an artifact's names, and the outcome of its latest checks."""

from __future__ import annotations

from sqlalchemy import ColumnElement, FromClause, Select, case, func, literal, select, tuple_

from llorch.registry.database.schema import alias_event, check_result, run


def alias_heads() -> Select[tuple[str, str, str, str]]:
    """Select each alias's latest event: name, alias, digest and uid; without removed aliases."""
    later = alias_event.alias("later")
    return select(alias_event.c.name, alias_event.c.alias, alias_event.c.digest, alias_event.c.uid).where(
        alias_event.c.digest.is_not(None),
        ~select(literal(1))
        .where(
            later.c.name == alias_event.c.name,
            later.c.alias == alias_event.c.alias,
            tuple_(later.c.at, later.c.uid) > tuple_(alias_event.c.at, alias_event.c.uid),
        )
        .exists(),
    )


def names_of(artifact: FromClause) -> ColumnElement[str | None]:
    """Select an artifact's `name@alias`, unsorted and joined by commas, which names cannot contain."""
    heads = (
        alias_heads().where(alias_event.c.digest == artifact.c.digest).correlate(artifact).subquery("heads")
    )
    return select(func.aggregate_strings(heads.c.name + "@" + heads.c.alias, ",")).scalar_subquery()


def sorted_names(joined: str | None) -> list[str]:
    """Return the result of `names_of` as a sorted list."""
    return sorted(joined.split(",")) if joined else []


def verdict_of(artifact_id: ColumnElement[int]) -> ColumnElement[str | None]:
    """Select the outcome of the latest run that checked an artifact; NULL if there is none.

    FAILED if a check failed or raised an error, else INCOMPLETE if one was skipped, else PASSED.
    """
    latest = (
        select(run.c.id)
        .join(check_result, check_result.c.run_id == run.c.id)
        .where(check_result.c.artifact_id == artifact_id)
        .order_by(run.c.started_at.desc(), run.c.uid.desc())
        .limit(1)
        .correlate(artifact_id.table)
        .scalar_subquery()
    )
    mine = check_result.alias("mine")
    return (
        select(verdict_in(mine))
        .where(mine.c.artifact_id == artifact_id, mine.c.run_id == latest)
        .correlate(artifact_id.table)
        .scalar_subquery()
    )


def verdict_of_run(run_id: ColumnElement[int]) -> ColumnElement[str | None]:
    """Select the outcome of a run's checks, as in `verdict_of`; NULL for a run without checks."""
    mine = check_result.alias("of_run")
    return select(verdict_in(mine)).where(mine.c.run_id == run_id).correlate(run_id.table).scalar_subquery()


def verdict_in(checks: FromClause) -> ColumnElement[str | None]:
    """Return the outcome over rows of `check_result`; NULL for no rows."""
    bad = func.sum(case((checks.c.status.in_(("FAILED", "ERROR")), 1), else_=0))
    skipped = func.sum(case((checks.c.status == "SKIPPED", 1), else_=0))
    return case((bad > 0, "FAILED"), (skipped > 0, "INCOMPLETE"), (func.count() > 0, "PASSED"))
