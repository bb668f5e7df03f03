"""`llorch-verify`: check a folder against the GGUF file it was made from, with values and limits."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch import formats, runtime, verification
from llorch.base.file_digests import FileDigests
from llorch.base.printable import printable
from llorch.base.record_files import RECORD
from llorch.commands import cli
from llorch.commands.cli import Cell, Failure, text, write_table
from llorch.commands.ledger import (
    RecordResult,
    finished_checks,
    locate_model,
    record_verification,
    registry_location,
    tracked_run,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llorch.formats.scan import Allowance
    from llorch.registry import Location
    from llorch.verification import Report, Result

NAME = "llorch-verify"
OUTCOMES = {"PASSED": 0, "FAILED": 1, "INCOMPLETE": 7}  # exit codes


class WithMatrix(cli.GuardedCommand):
    """The command, with `matrix` as a subcommand; a folder of that name has to be given as `./matrix`."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of this command, or of `matrix` if that is the first word."""
        if args[:1] == ["matrix"]:
            from llorch.commands.matrix import matrix  # imported only if it is used

            return matrix.make_context(f"{info_name} matrix", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the context's command."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@cli.command(
    NAME, cls=WithMatrix, example=f"{NAME} smollm2 --against SmolLM2-135M-Instruct.Q4_1.gguf --level full"
)
@click.argument("artifact", type=cli.PATH, shell_complete=cli.complete_model)
@click.option(
    "--against",
    metavar="FILE",
    type=cli.PATH,
    help="The .gguf file it was made from.  [default: the one conversion.json names, if unchanged]",
)
@click.option(
    "--level",
    type=click.Choice(cli.LEVELS),
    default="quick",
    show_default=True,
    help="quick looks at a part of a large model, full at all of it.",
)
@cli.device_option("Where the two readings are computed. auto: cuda if it is there, else cpu.")
@click.option("--alone", is_flag=True, help="Compare it with nothing, but try it out, as a .gguf file is.")
@cli.registry_option
@click.option("--strict", is_flag=True, help="End with 1 also if the scan warns of anything.")
@cli.allow_option
@click.option(
    "--again",
    is_flag=True,
    help="Repeat checks that passed before on the same bytes, as the registry has it.",
)
@click.option("--no-record", is_flag=True, help="Do not record the result in the registry.")
@click.option(
    "--tensors",
    metavar="GLOB",
    help="Check only tensors of these names, by their values in the source, and nothing else.",
)
@click.option(
    "--reference",
    metavar="DIR",
    type=cli.PATH,
    help="The original model's folder: say what the quantization cost, by tensor and by divergence.",
)
@click.option("--html", metavar="FILE", type=cli.PATH, help="Write the report as a page with charts.")
@click.option("--sarif", metavar="FILE", type=cli.PATH, help="Write what did not pass in SARIF 2.1.0.")
@click.option(
    "--other-source",
    is_flag=True,
    help="Compare with FILE though conversion.json names another; nothing is recorded.",
)
@click.option(
    "--just-written",
    is_flag=True,
    hidden=True,
    help="The conversion that waits for this has hashed all files.",
)
def main(
    artifact: Path,
    against: Path | None,
    level: str,
    device: str,
    alone: bool,
    url: str | None,
    strict: bool,
    allow: Path | None,
    again: bool,
    no_record: bool,
    other_source: bool,
    just_written: bool,
    tensors: str | None,
    reference: Path | None,
    html: Path | None,
    sarif: Path | None,
    as_json: bool,
) -> int:
    """Check ARTIFACT, a converted folder or its name in the registry, against the file it was made from.

    Each check says what was measured and how much is allowed. The result is recorded if the registry knows the folder.
    A .gguf file is compared with nothing, but tried out: does it run, and predict English better than chance?
    `llorch-verify matrix MODELS_DIR` runs every model of a folder.
    """
    # Set before torch is loaded: its threads would spin after each product, on cores that our kernels need.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    recorded: RecordResult | Failure | None = None
    digests = FileDigests()
    artifact = locate_model(artifact, url, for_use=False)
    if other_source and against is None:
        raise click.UsageError("--other-source is for --against FILE, which is not given.")
    if against is not None and not (alone or other_source or just_written or artifact.is_file()):
        require_source(artifact, against, digests)
    if alone or not is_folder_of_weights(artifact):
        artifact = formats.model_path(artifact, folders=True)
    location = registry_location(url)
    # a conversion that has just been written was scanned before it
    suspicious = not just_written and print_warnings(artifact, cli.allowances(allow))
    with cli.progress(f"reading {artifact.name}"):
        needed = None if alone or as_json or artifact.is_file() else verification.memory_needed(artifact)
    if needed:
        cli.note(NAME, f"{artifact}: needs at most {needed / 1e6:,.0f} MB of memory")
    if alone or artifact.is_file():
        if against is not None:
            raise click.UsageError("--against is for a folder, and not with --alone.")
        if tensors is not None or reference is not None:
            raise click.UsageError("--tensors and --reference are for a folder, and not with --alone.")
        with show_checks() as progress:
            report = verification.smoke_test(artifact, level=level, device=device, progress=progress)
    elif no_record or tensors is not None or not location.is_there:
        with show_checks(of_conversion=just_written) as progress:
            report = verification.verify(
                artifact,
                against,
                level=level,
                device=device,
                tensors=tensors,
                just_written=just_written,
                digests=digests,
                progress=progress,
            )
    else:
        report, recorded = verify_and_record(artifact, against, level, device, location, digests, again=again)
    if reference is not None:
        with show_checks() as progress:
            cost = verification.measure_cost(
                artifact, reference, level=level, device=device, progress=progress
            )
        report = replace(report, reference=cost)
    write_reports(report, html, sarif)
    if as_json:
        cli.write_json({**report.to_json(), "registry": None if recorded is None else recorded.to_json()})
    else:
        titles = ("check", "status", "value", "at most", "unit", "where and what")
        write_table(titles, rows(report), spared=("unit",))
        where = f"; recorded in {recorded.registry}" if isinstance(recorded, RecordResult) else ""
        cli.note(NAME, f"{artifact}: {report.outcome}: {report.sentence}{where}")
        if recorded is None and not is_of_record(report) and not (alone or artifact.is_file()):
            what = "it, or its source, is not what conversion.json lists: that is said of this place and not recorded"
            if not (artifact / RECORD).exists():
                what = f"without {RECORD} nothing is recorded of it"
            cli.note(NAME, f"{artifact}: {what}")
    if isinstance(recorded, Failure):
        cli.note(NAME, recorded.message)
        return recorded.exit_code
    return 1 if strict and suspicious else OUTCOMES[report.outcome]


def is_folder_of_weights(artifact: Path) -> bool:
    """Return whether it is a (perhaps incomplete) converted folder, not a folder of GGUF files."""
    names = (RECORD, "config.json", "*.safetensors")
    return artifact.is_dir() and any(any(artifact.glob(name)) for name in names)


def print_warnings(artifact: Path, allow: Sequence[Allowance]) -> bool:
    """Scan the artifact, print warnings that aren't allowed on stderr, and return whether there were any."""
    from llorch.formats.scan import not_allowed, scan_folder  # --help does not need it

    found = scan_folder(artifact) if artifact.exists() else []
    warned = [one for one in not_allowed(found, allow)[0] if one.level == "warning"]
    if artifact.is_file():  # an unreadable file is an error of the next step
        warned = [one for one in warned if one.rule != "unreadable-file"]
    for one in warned:
        cli.note(NAME, f"warning: {one}")
    return bool(warned)


def verify_and_record(
    artifact: Path,
    against: Path | None,
    level: str,
    device: str,
    location: Location,
    digests: FileDigests,
    *,
    again: bool,
) -> tuple[Report, RecordResult | Failure | None]:
    """Verify as a tracked run, and record it unless the folder differs from its record.

    again: whether to repeat checks that passed before on the same bytes.
    """
    params = {"level": level, "device": device}
    folder = os.fspath(artifact.absolute())
    with tracked_run("verify", folder, params, location, is_there=artifact.is_dir) as run:
        before: dict[str, Result] = {}
        if not again:
            with explain_interrupt(), cli.progress(f"hashing {artifact.name}") as hashing:
                against = against or verification.recorded_source(artifact, digests)
                there = runtime.choose_device(device)  # the name that is recorded
                before = finished_checks(artifact, against, level, there, location, digests, hashing)
        with show_checks() as progress:
            report = verification.verify(
                artifact,
                against,
                level=level,
                device=device,
                finished=before,
                digests=digests,
                progress=progress,
            )
        recorded = record_verification(artifact, report, run, location) if is_of_record(report) else None
    return report, recorded


def is_of_record(report: Report) -> bool:
    """Return whether the checked files and source are those in the record, by their digests.

    Otherwise the results hold only for the files in this place, and say nothing about the recorded artifact.
    """
    status = {result.name: result.status for result in report.results}
    content = {status.get("files.listed"), status.get("files.digests")}
    return content == {"PASSED"} and status.get("source.digest") not in ("FAILED", "ERROR")


def require_source(artifact: Path, against: Path, digests: FileDigests) -> None:
    """Raise UsageError for a file that is not the source in conversion.json, by size and digest."""
    try:
        rows = json.loads((artifact / RECORD).read_bytes())["sources"]
        recorded = {(int(row["size"]), str(row["sha256"])) for row in rows}
    except (OSError, ValueError, LookupError, TypeError):
        return  # without a record there is nothing to compare with; the checks report the missing record
    if not against.is_file():
        return  # reading it reports what it is instead
    length = against.stat().st_size
    same = {sha256 for size, sha256 in recorded if size == length}
    if same:
        with cli.progress(f"hashing {against.name}") as progress:
            digests.begin([against], progress)
            # imports torch, which takes a second, while the hashing runs
            import_module("llorch.runtime.devices")
            same &= {digests.of(against)}
    if not same:
        raise click.UsageError(
            f"--against {printable(against, 200)} is not the file that {artifact / RECORD} names"
            f" ({rows[0]['name']}, sha256:{rows[0]['sha256'][:12]}): --other-source compares with it all the same"
        )


@contextlib.contextmanager
def show_checks(*, of_conversion: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """Show the current check and its progress; on an interrupt print how to go on.

    of_conversion: a conversion is waiting for this check, and prints that itself.
    """
    on_interrupt = contextlib.nullcontext() if of_conversion else explain_interrupt()
    with on_interrupt, cli.progress("checking", in_bytes=False) as bar:
        yield lambda name, done, total: bar.step(f"checking {name}", done, total) if bar else None


@contextlib.contextmanager
def explain_interrupt() -> Iterator[None]:
    """Within the `with` block, an interrupt prints how to go on."""
    try:
        yield
    except cli.Signalled:
        cli.note(NAME, "interrupted: nothing was written; the same command begins again")
        raise


def write_reports(report: Report, html: Path | None, sarif: Path | None) -> None:
    """Write the HTML and SARIF files, if requested. Raises OutputError."""
    pages: list[tuple[Path | None, Callable[[], str]]] = [
        (html, lambda: verification.report_page(report)),
        (sarif, lambda: json.dumps(verification.report_sarif(report), indent=1)),
    ]
    for file, made in pages:
        if file is not None:
            cli.write_file(file, made())


def rows(report: Report) -> list[list[Cell]]:
    """Return one row per check; on a terminal, one for all checks that were skipped for the same reason."""
    found, alike = [], dict[str, list[str]]()
    for result in report.results:
        if result.status == "SKIPPED" and cli.is_terminal(sys.stdout):
            alike.setdefault(result.detail, []).append(result.name)
        else:
            found.append(row(result))
    for why, names in alike.items():
        what = names[0] if len(names) == 1 else f"{len(names)} checks"
        listed = "" if len(names) == 1 else f": {', '.join(names)}"
        cell = Cell("", f"{why}{listed}", below=True)
        found.append([text(what), text("SKIPPED"), Cell("", ""), Cell("", ""), Cell("", ""), cell])
    return found


def row(result: Result) -> list[Cell]:
    """Return the table row of one check."""
    return [
        Cell(result.name, result.name, whole=True),
        Cell(result.status, result.status, whole=True),
        number(result.value),
        number(result.at_most),
        text(result.unit),
        detail_cell(result),
    ]


def detail_cell(result: Result) -> Cell:
    """Return a cell of where the worst value was and what was compared; uncut for a check that did not pass."""
    made = f"made {result.made}" if result.made else ""
    cell = text("; ".join(filter(None, [made, result.where, result.detail])))
    return cell if result.status in ("PASSED", "SKIPPED") else Cell(cell.full, cell.full, below=True)


def number(value: float | None) -> Cell:
    """Return a cell of a measured value, in brief as a whole number or with two significant digits."""
    if value is None:
        return Cell("", "–")
    whole = float(value).is_integer() and abs(value) < 1e6
    return Cell(repr(value), f"{value:.0f}" if whole else f"{value:.2g}")


if __name__ == "__main__":
    main()
