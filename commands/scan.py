"""`llorch scan`: report dangerous content of a model other than its weights, without loading it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch.base.sarif import SarifResult, SarifRule, sarif
from llorch.commands import cli
from llorch.commands.cli import Cell, text, write_table
from llorch.commands.ledger import INSPECTED_MODEL

if TYPE_CHECKING:
    from llorch.formats.scan import Allowance, Finding

NAME = "llorch-scan"


@cli.command(NAME, example=f"{NAME} model.gguf\n{NAME} downloads/model --strict --sarif scan.sarif")
@click.argument(
    "paths", metavar="FILE…", nargs=-1, required=True, type=INSPECTED_MODEL, shell_complete=cli.complete_model
)
@click.option("--strict", is_flag=True, help="End with 1 also if there are only warnings.")
@cli.allow_option
@click.option(
    "--sarif",
    "sarif_file",
    metavar="FILE",
    type=cli.PATH,
    help="Write the findings as SARIF 2.1.0.",
)
@click.option(
    "--accept",
    "accepted",
    metavar="RULE",
    multiple=True,
    help="Accept the findings of this rule: add them to --allow's file; may be repeated.",
)
@click.option("--by", "who", metavar="NAME", help="With --accept, who accepts them.")
@click.option("--reason", metavar="TEXT", help="With --accept, why they are acceptable.")
def main(
    paths: tuple[Path, ...],
    strict: bool,
    allow: Path | None,
    sarif_file: Path | None,
    accepted: tuple[str, ...],
    who: str | None,
    reason: str | None,
    as_json: bool,
) -> int:
    """Look at GGUF files, folders and templates for what they do besides being weights.

    Chat templates are read as programs and never run; of a folder also its Python, pickles, tokenizer, settings and
    card. docs/scan.md has every rule.
    """
    from llorch.formats.scan import RULES, not_allowed, read_allowances, scan_folder

    if accepted and not (allow and who and reason):
        raise click.UsageError("--accept goes with --allow FILE.toml, --by and --reason.")
    if unknown := [rule for rule in accepted if rule not in RULES]:
        raise click.UsageError(f"{unknown[0]!r} is no rule.")
    found = [
        one if len(paths) == 1 else with_folder_path(path, one)
        for path in paths
        for one in scan_folder(present(path))
    ]
    allowances: list[Allowance] = []
    if allow is not None and (allow.exists() or not accepted):
        allowances = read_allowances(allow)
    if accepted and allow is not None:
        standing, _ = not_allowed(found, allowances)
        new = accepting([one for one in standing if one.rule in accepted], who or "", reason or "")
        before = allow.read_text(encoding="utf-8") if allow.exists() else ""
        cli.write_file(allow, before + "".join(f"{one.to_toml()}\n" for one in new))
        allowances += new
    standing, taken = not_allowed(found, allowances)
    if sarif_file is not None:
        cli.write_file(sarif_file, as_sarif(standing, taken))
    if as_json:
        cli.write_json(document(paths, standing, taken))
    else:
        write_table(("rule", "level", "where", "line", "what"), [row(one) for one in standing])
        for one, allowance in taken:
            cli.note(NAME, f"allowed by {allowance.by} ({allowance.reason}): {one}")
    warned = [one for one in standing if one.level == "warning"]
    return 1 if strict and warned else 0


def with_folder_path(path: Path, finding: Finding) -> Finding:
    """Return the finding with its file's path including the scanned folder, to tell several paths apart."""
    folder = path if path.is_dir() else path.parent
    return finding if folder == Path() else replace(finding, where=f"{folder.as_posix()}/{finding.where}")


def present(path: Path) -> Path:
    """Return `path`, or raise FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(2, "there is no such file or folder", os.fspath(path))
    return path


def accepting(findings: Sequence[Finding], who: str, reason: str) -> list[Allowance]:
    """Return an allowance for each finding with its exact text: a finding with another text is reported again."""
    from llorch.formats.scan import Allowance  # as in `main`

    return [Allowance(one.rule, who, reason, one.where, one.what) for one in findings]


def row(finding: Finding) -> list[Cell]:
    """Return the table row of one finding."""
    line = "" if finding.line is None else str(finding.line)
    return [text(finding.rule), text(finding.level), text(finding.where), text(line), text(finding.what)]


def document(
    paths: Sequence[Path], standing: Sequence[Finding], taken: Sequence[tuple[Finding, Allowance]]
) -> dict[str, object]:
    """Return the document for --json."""
    return {
        "schema": "llorch.scan/v1",
        "paths": [os.fspath(path) for path in paths],
        "findings": [one.to_json() for one in standing],
        "allowed": [{**one.to_json(), "by": who.by, "reason": who.reason} for one, who in taken],
    }


def as_sarif(standing: Sequence[Finding], taken: Sequence[tuple[Finding, Allowance]]) -> bytes:
    """Return all findings as SARIF, the allowed ones as suppressed."""
    from llorch.formats.scan import RULES  # as in `main`

    rules = [SarifRule(rule.id, rule.meaning, rule.remedy) for rule in RULES.values()]
    results = [result(one) for one in standing]
    results += [result(one, f"{who.reason} ({who.by})") for one, who in taken]
    return sarif("scan", rules, results)


def place_of(where: str) -> tuple[str, str]:
    """Split a finding's place into the file and the key within it, which only .gguf files have."""
    file, separator, within = where.rpartition(".gguf: ")
    return (f"{file}.gguf", within) if separator else (where, "")


def result(finding: Finding, suppressed: str | None = None) -> SarifResult:
    """Return a finding as a SARIF result: its location is the file; the key within it is part of the message."""
    file, within = place_of(finding.where)
    message = f"{within}: {finding.what}" if within else finding.what
    return SarifResult(finding.rule, finding.level, message, file, finding.line, suppressed)


if __name__ == "__main__":
    main()
