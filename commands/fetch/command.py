"""`llorch-fetch`: preview a model remotely, download and check it, record it, and optionally convert it."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch import sources
from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable
from llorch.commands import cli
from llorch.commands.cli import Failure, digest, size
from llorch.commands.fetch import preview_screen
from llorch.commands.ledger import checked_name, registry_location, tracked_run
from llorch.sources import NoRanges
from llorch.verification import Report

if TYPE_CHECKING:
    from llorch.commands.convert.result import ConvertResult
    from llorch.commands.ledger import FetchedModel, FetchResult, RecordResult
    from llorch.formats.scan import Allowance, Finding
    from llorch.registry import Location
    from llorch.sources import Destination, Preview, Remote

NAME = "llorch-fetch"
SHA256 = re.compile(r"[0-9a-f]{64}")
MOST_TEMPLATE = 4 << 20  # bytes; a larger file with a chat template is not compared

EXAMPLE = f"""{NAME} Qwen/Qwen2.5-0.5B-Instruct-GGUF --quant Q4_K_M --dry-run
{NAME} Qwen/Qwen2.5-0.5B-Instruct-GGUF:qwen2.5-0.5b-instruct-q4_k_m.gguf --to models
{NAME} --adopt ~/.ollama/models"""


class Sha256Type(click.ParamType[str]):
    """64 hex digits, with or without the prefix `sha256:`."""

    name = "sha256"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digits in lower case."""
        digits = str(value).strip().lower().removeprefix("sha256:")
        if not SHA256.fullmatch(digits):
            self.fail(f"{value!r} is no SHA-256: it has 64 hex digits", param, ctx)
        return digits


@cli.command(NAME, example=EXAMPLE)
@click.argument("source", required=False)
@click.option("--revision", metavar="REV", help="A branch, tag or commit.  [default: main]")
@click.option("--include", metavar="GLOB", multiple=True, help="Only files that match; may be repeated.")
@click.option("--exclude", metavar="GLOB", multiple=True, help="No files that match; may be repeated.")
@click.option("--quant", metavar="TYPE", help="The GGUF file of this quantization, as Q4_K_M.")
@click.option(
    "--to",
    "--local-dir",
    "folder",
    metavar="DIR",
    type=cli.PathType(file_okay=False),
    help="The folder to fetch into.  [default: huggingface_hub's cache; the current folder for a URL]",
)
@click.option("--sha256", metavar="HEX", type=Sha256Type(), help="The digest that a URL's file must have.")
@click.option("--convert", "converts", is_flag=True, help="Go on to convert it, and to verify that.")
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    type=cli.PATH,
    help="With --convert, the folder to write.  [default: as llorch-convert's]",
)
@cli.verify_option("How thoroughly the model is tried, or its conversion checked.")
@click.option(
    "--dry-run", is_flag=True, help="Fetch nothing: only say what it is, and whether it can be converted."
)
@click.option("--force", is_flag=True, help="Go on though the model is not supported.")
@click.option("--strict", is_flag=True, help="Stop if the scan of what was fetched warns of anything.")
@cli.allow_option
@click.option("--overwrite", is_flag=True, help="Replace files in --to that differ.")
@click.option(
    "--adopt",
    "adopted",
    metavar="PATH",
    type=cli.PATH,
    help="Check and record what is on the disk already: a file, a folder, a cache, Ollama's store.",
)
@click.option(
    "--name", callback=checked_name, help="Its name in the registry.  [default: the file's or folder's]"
)
@cli.registry_option
def main(
    source: str | None,
    revision: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    quant: str | None,
    folder: Path | None,
    sha256: str | None,
    converts: bool,
    output: Path | None,
    level: str,
    dry_run: bool,
    force: bool,
    strict: bool,
    allow: Path | None,
    overwrite: bool,
    adopted: Path | None,
    name: str | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Fetch SOURCE, check its digests, and record where it came from.

    SOURCE is owner/repo, owner/repo@revision, owner/repo:file.gguf (a split set comes whole) or an https:// URL.
    The hub is the one of HF_ENDPOINT; HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they do for `hf`.
    """
    if adopted is not None:
        asked = (
            source,
            revision,
            include,
            exclude,
            quant,
            folder,
            sha256,
            converts,
            dry_run,
            force,
            strict,
            allow,
            overwrite,
        )
        if any(asked):
            raise click.UsageError("--adopt PATH goes with --name, --registry and --json alone.")
        from llorch.commands.fetch import adopt as adoption  # as below: --help does not need it

        return adoption.adopt(adopted, name, url, as_json)
    if source is None:
        raise click.UsageError("Missing argument 'SOURCE', or --adopt PATH.")
    if output is not None and not converts:
        raise click.UsageError("--output goes with --convert.")

    from llorch.commands import ledger

    reference = sources.parse_source(source, revision)
    wish = sources.FileFilter(quant, include, exclude)
    opened = functools.partial(sources.open_source, reference, wish, sha256=sha256)
    if dry_run:
        with opened() as remote:
            return show(remote, sources.destination_for(remote, folder, str(reference)), as_json)
    chosen: Mapping[str, Any] = {
        "revision": revision, "include": list(include), "exclude": list(exclude), "quant": quant, "sha256": sha256
    }  # fmt: skip
    location = registry_location(url)
    with (
        tracked_run("fetch", str(reference), chosen, location, is_there=lambda: True) as run,
        opened() as remote,
    ):
        place = sources.destination_for(remote, folder, str(reference), overwrite=overwrite)
        result = fetch_files(remote, place, str(reference), force=force, chosen_files=bool(include))
        recorded = ledger.record_fetch(result, run, {**chosen, "endpoint": result.endpoint}, name, location)
        differing = template_differences(result, remote)
    for path, why in result.left_out:
        cli.note(NAME, f"left out: {printable(path, 200, quoted=False)}: {why}")
    for model in result.models:
        if model.lacks_tokenizer:
            cli.note(NAME, f"warning: {printable(model.title, 200, quoted=False)}: no tokenizer came with it")
    require_no_findings(result, differing, cli.allowances(allow), strict=strict)
    reports = (
        []
        if level == "none" or converts
        else [smoke_test_model(model, result, level, location) for model in result.models]
    )
    for trouble in (recorded, *reports):
        if isinstance(trouble, Failure):
            cli.note(NAME, trouble.message)
    if not as_json:
        write_summary(result, recorded, reports)
    done = convert_fetched(result, output, level, location) if converts else None
    if as_json:
        cli.write_json(document(result, recorded, reports, done))
    elif done is not None:
        click.echo(done.summary())
    return exit_code(recorded, reports) or (done.exit_code if done is not None else 0)


def show(remote: Remote, place: Destination, as_json: bool) -> int:
    """Print a preview of the models and whether they are supported; only headers are downloaded."""
    with tempfile.TemporaryDirectory(prefix="llorch-fetch-") as scratch:
        previews = read_previews(remote, place, Path(scratch))
        if as_json:
            cli.write_json(preview_screen.document(remote.offer, previews, place.files))
        else:
            preview_screen.write(remote.offer, previews, place.files)
    troubles = [preview.why_not for preview in previews if preview.why_not]
    for trouble in troubles:
        cli.note(NAME, f"{remote.offer.repository}: not supported: {trouble}")
    return 3 if troubles else 0


def read_previews(remote: Remote, place: Destination, scratch: Path) -> Sequence[Preview]:
    """Return previews of the models; none from a server that does not support range requests."""
    try:
        with cli.progress(f"reading headers of {remote.offer.repository}"):
            return sources.preview_models(remote, scratch, place.existing)
    except NoRanges as error:
        cli.note(NAME, f"warning: {error}; it is looked at when it is here")
        return []


def fetch_files(
    remote: Remote, place: Destination, source: str, *, force: bool, chosen_files: bool
) -> FetchResult:
    """Download and check all files. Raises UnsupportedInput before the first download for an unsupported model.

    chosen_files: the files were chosen by patterns, so it is no error if none of them is a model.
    """
    from llorch.commands import ledger  # as in `main`

    with tempfile.TemporaryDirectory(prefix="llorch-fetch-") as scratch:
        previews = read_previews(remote, place, Path(scratch))
    wanted = [one for one in previews if one.format != "other" or not chosen_files]
    if not force and (trouble := next((one.why_not for one in wanted if one.why_not), None)):
        raise UnsupportedInput(trouble, path=source, hint="--force fetches it all the same")
    if not any(file.promised for file in remote.offer.files):
        cli.note(NAME, f"warning: {source}: nothing to compare with: --sha256 HEX would prove it")
    with cli.progress("fetching") as progress:
        found = sources.fetch(remote, place, source, progress)
    return ledger.from_fetch(found, previews)


def template_differences(result: FetchResult, remote: Remote) -> list[Finding]:
    """Return findings where the repository's chat template, which was not requested, differs from the fetched model's.

    The template is downloaded to a temporary folder. A file that cannot be read is not compared.
    """
    from llorch.formats.scan import scan_files  # as in `main`

    fetched_models = [one.path for one in result.files if one.proven.path.endswith(".gguf")]
    found = []
    with tempfile.TemporaryDirectory(prefix="llorch-fetch-") as scratch:
        for file in remote.offer.templates if fetched_models else ():
            if file.size is None or file.size > MOST_TEMPLATE:
                continue
            copy = Path(scratch) / file.name
            with contextlib.suppress(sources.SourceError, OSError):
                copy.write_bytes(remote.read(file, file.size, 0))
                found += scan_files([(fetched_models[0], "model.gguf"), (copy, file.path)])
    return [one for one in found if one.rule == "template-differs"]


def require_no_findings(
    result: FetchResult, more: Sequence[Finding], allow: Sequence[Allowance], *, strict: bool
) -> None:
    """Scan the fetched files and print warnings, before anything loads them; UnsupportedInput for any if `strict`.

    more: findings about files that were not fetched.
    """
    from llorch.formats.scan import not_allowed, scan_files  # as in `main`

    found = [*scan_files((one.path, one.proven.path) for one in result.files), *more]
    warned = [one for one in not_allowed(found, allow)[0] if one.level == "warning"]
    for one in warned:
        cli.note(NAME, f"warning: {one}")
    if warned and strict:
        rules = ", ".join(sorted({one.rule for one in warned}))
        hint = "read what was warned of; --allow takes what somebody looked at"
        raise UnsupportedInput(f"what came has findings: {rules}", path=result.repository, hint=hint)


def smoke_test_model(
    model: FetchedModel, result: FetchResult, level: str, location: Location
) -> Report | Failure:
    """Run a model's smoke test in a new process, recorded as a run of its own; return its report."""
    from llorch.commands import ledger  # as in `main`

    path = model.path.absolute()
    with tracked_run("verify", os.fspath(path), {"level": level}, location, is_there=path.exists) as run:
        report = cli.verify_in_fresh_process(path, level, "--alone")
        trouble = ledger.record_smoke_test(model, result.licence, report, run, location)
    return trouble or report


def convert_fetched(
    result: FetchResult, output: Path | None, level: str, location: Location
) -> ConvertResult:
    """Convert the one GGUF model that was fetched. UnsupportedInput for none, several, or one without weights."""
    from llorch.commands.convert import command as convert  # as in `main`
    from llorch.converter import ConvertOptions

    models = [model for model in result.models if model.kind in ("gguf", "gguf-split")]
    if len(models) != 1:
        what = f"--convert is for one GGUF model, and {len(models)} came"
        raise UnsupportedInput(what, path=result.repository, hint="llorch-convert converts each")
    source = models[0].path
    folder = output or Path(convert.folder_name(source))
    done = convert.convert_and_check(source, folder, ConvertOptions(), level, None, location)
    if done is None:
        raise UnsupportedInput(
            "holds a vocabulary and no weights", path=source, hint="llorch-convert writes its tokenizer"
        )
    return done


def exit_code(recorded: Sequence[RecordResult] | Failure, reports: Sequence[Report | Failure]) -> int:
    """Return the exit code: the registry's failure takes precedence over a smoke test's."""
    if isinstance(recorded, Failure):
        return recorded.exit_code
    failed = [report for report in reports if isinstance(report, Failure)]
    if failed:
        return failed[0].exit_code
    return 1 if any(isinstance(report, Report) and report.outcome == "FAILED" for report in reports) else 0


def document(
    result: FetchResult,
    recorded: Sequence[RecordResult] | Failure,
    reports: Sequence[Report | Failure],
    done: ConvertResult | None,
) -> dict[str, object]:
    """Return the document for --json; its "conversion" is that of llorch-convert, with --convert."""
    registry = recorded.to_json() if isinstance(recorded, Failure) else [one.to_json() for one in recorded]
    return {
        "schema": "llorch.fetch/v1",
        **result.to_json(),
        "verification": [report.to_json() for report in reports],
        "registry": registry,
        "conversion": None if done is None else done.to_json(),
    }


def write_summary(
    result: FetchResult, recorded: Sequence[RecordResult] | Failure, reports: Sequence[Report | Failure]
) -> None:
    """Print the lines for a person: what was fetched, how it was checked, the smoke tests, the records."""
    total = size(sum(file.proven.size for file in result.files)).brief
    count = f"{len(result.files)} file{'s' if len(result.files) > 1 else ''}"
    at = result.revision[:12] if result.revision else "no revision"
    if result.bytes_fetched:
        click.echo(f"fetched    {result.repository}  ({at}, {count}, {total})")
    else:
        click.echo(f"here       {result.repository}  ({at}, {count}, {total}: nothing was fetched)")
    compared = sum(file.proven.promised is not None for file in result.files)
    click.echo(
        f"proven     {compared} of {len(result.files)} by the digest that was promised, all by their structure"
    )
    for model, report in zip(result.models, reports, strict=False):
        if isinstance(report, Report):
            click.echo(
                f"tried      {printable(model.title, 200, quoted=False)}: {report.outcome}  ({report.sentence})"
            )
    for model in result.models:
        click.echo(f"at         {printable(model.path, 4096, quoted=False)}")
    if not isinstance(recorded, Failure):
        for one in recorded:
            click.echo(f"recorded   {one.name}  ({digest(one.digest).brief}, in {one.registry})")
