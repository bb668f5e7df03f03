"""`llorch-fetch --adopt`: check models that are already on the disk, in place, and record them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch import sources
from llorch.base.errors import InputError
from llorch.base.home import expand_home
from llorch.base.record_files import RECORD
from llorch.commands import cli
from llorch.commands.cli import Failure, failure, text, write_table
from llorch.commands.ledger import registry_location, tracked_run
from llorch.sources import SourceError

if TYPE_CHECKING:
    from llorch.commands.ledger import FetchResult, RecordResult
    from llorch.registry import Location
    from llorch.sources import LocalModel

NAME = "llorch-fetch"

Outcome = tuple["LocalModel", "FetchResult | Failure", "list[RecordResult] | Failure | None"]


def adopt(path: Path, name: str | None, url: str | None, as_json: bool) -> int:
    """Check and record every model at a path; return the exit code of the first failure, else 0."""
    folder = expand_home(path)
    if (folder / RECORD).is_file():  # a conversion of ours: its conversion.json says where it came from
        return adopt_own(folder, name, url, as_json)
    models = sources.find_models(folder)
    if name is not None and len(models) > 1:
        raise click.UsageError(f"--name is for one model, and {len(models)} are there.")
    location = registry_location(url)
    outcomes = [adopt_one(model, name, location) for model in models]
    for _, result, recorded in outcomes:
        for trouble in (result, recorded):
            if isinstance(trouble, Failure):
                cli.note(NAME, trouble.message)
    if as_json:
        cli.write_json({"schema": "llorch.adoption/v1", "models": [document(*one) for one in outcomes]})
    else:
        write_table(
            ("model", "outcome", "promised", "recorded"),
            [[text(cell) for cell in row(*one)] for one in outcomes],
        )
    failures = [
        one for _, result, recorded in outcomes for one in (result, recorded) if isinstance(one, Failure)
    ]
    return failures[0].exit_code if failures else 0


def adopt_own(folder: Path, name: str | None, url: str | None, as_json: bool) -> int:
    """Record a folder that a conversion wrote, as that conversion; return 0 or raise."""
    from llorch.commands import ledger

    recorded = ledger.adopt_folder(folder, name, registry_location(url))
    if as_json:
        model = {"model": os.fspath(folder), "kind": "conversion", "registry": recorded.to_json()}
        cli.write_json({"schema": "llorch.adoption/v1", "models": [model]})
    else:
        cells = (os.fspath(folder), "PROVEN", f"by {RECORD}", recorded.name)
        write_table(("model", "outcome", "promised", "recorded"), [[text(cell) for cell in cells]])
    return 0


def adopt_one(model: LocalModel, name: str | None, location: Location) -> Outcome:
    """Check and record one model; return it, the result or failure, and the records."""
    from llorch.commands import ledger

    path = os.fspath(model.files[0][1])
    try:
        with tracked_run("adopt", path, {"path": path}, location, is_there=lambda: True) as run:
            with cli.progress(f"proving {Path(path).name}") as progress:
                files, checks = sources.prove_in_place(model, progress)
            result = ledger.from_adoption(model, files, checks)
            return model, result, ledger.record_fetch(result, run, {"path": path}, name, location)
    except (SourceError, InputError, OSError) as error:
        return model, failure(error, NAME), None


def row(
    model: LocalModel, result: FetchResult | Failure, recorded: list[RecordResult] | Failure | None
) -> tuple[str, ...]:
    """Return one row of the table."""
    if isinstance(result, Failure):
        return (model.title, "NOT PROVEN", "", "")
    promised = sum(one.proven.promised is not None for one in result.files)
    names = ", ".join(one.name for one in recorded) if isinstance(recorded, list) else ""
    return (model.title, "PROVEN" if promised else "SOUND", f"{promised} of {len(result.files)}", names)


def document(
    model: LocalModel, result: FetchResult | Failure, recorded: list[RecordResult] | Failure | None
) -> dict[str, object]:
    """Return one model's part of the --json document."""
    registry = (
        [one.to_json() for one in recorded] if isinstance(recorded, list) else recorded and recorded.to_json()
    )
    return {"model": model.title, **result.to_json(), "registry": registry}
