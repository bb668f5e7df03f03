"""`llorch-convert`: a GGUF file becomes a folder, is checked in a fresh process, and both are recorded."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import converter
from commands import console, quantization_page, recording, telling, tokenizer_folder
from commands.failures import NO_SUCH_FILE, Failure, OutputError
from commands.tables import size
from formats.shown import shown
from verification.report import Report

if TYPE_CHECKING:
    from converter import Conversion
    from converter.reference import Comparison

NAME = "llorch-convert"
ROOT = Path(__file__).parent.parent

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
BINARY_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)
SPLIT = re.compile(r"-\d{5}-of-\d{5}$")  # gguf-split's ending for the parts of one model


class SizeType(click.ParamType[int]):
    """Bytes, as a number with or without a unit: 5GB, 512MiB, 100000."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes, at least one."""
        found = SIZE.fullmatch(str(value).strip())
        unit = (BINARY_UNITS if found[3] else UNITS).get(found[2].lower()) if found else None
        if found is None or unit is None or (number := int(float(found[1]) * unit)) < 1:
            self.fail(f"{value!r} is no size; write it as 5GB, 512MiB or a number of bytes", param, ctx)
        return number


@console.command(NAME, example=f"{NAME} SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2 --verify full")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The folder to write.  [default: named after the file, in the current directory]",
)
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "float16", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Type of the weights. auto: the narrowest that loses nothing; bfloat16 for a quantized source.",
)
@click.option(
    "--max-shard-size",
    metavar="SIZE",
    type=SizeType(),
    default="5GB",
    show_default=True,
    help="Begin another weights file above this.",
)
@click.option(
    "--verify",
    "level",
    type=click.Choice(["quick", "full", "none"]),
    default="quick",
    show_default=True,
    help="How thoroughly the result is checked.",
)
@click.option(
    "--name", callback=recording.checked_name, help="Its name in the registry.  [default: the folder's]"
)
@click.option(
    "--registry", "url", metavar="URL", help="A file or a SQLAlchemy URL; see llorch-registry path."
)
@click.option("--threads", type=click.IntRange(min=1), help="How many work.  [default: all cores]")
@click.option("--force", is_flag=True, help="Replace the folder if it is there.")
@click.option("--strict", is_flag=True, help="Make an error of every warning.")
@click.option(
    "--allow-unknown", is_flag=True, help="Leave out tensors and keys that are not known, with a warning."
)
@click.option(
    "--report",
    "page",
    metavar="FILE.html",
    type=click.Path(path_type=Path),
    help="Write a page about the quantization: types, sizes, scales, as charts.",
)
@click.option(
    "--reference",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="The original model's folder: the report shows the error of each tensor.",
)
@click.option("--tokenizer-only", is_flag=True, help="Write the tokenizer's files and nothing else.")
def main(
    source: Path,
    folder: Path | None,
    dtype: str,
    max_shard_size: int,
    level: str,
    name: str | None,
    url: str | None,
    threads: int | None,
    force: bool,
    strict: bool,
    allow_unknown: bool,
    page: Path | None,
    reference: Path | None,
    tokenizer_only: bool,
    as_json: bool,
) -> int:
    """Convert SOURCE, a .gguf file, into a safetensors folder, check it in a new process, record both."""
    folder = folder or Path(folder_name(source))
    if tokenizer_only:
        return tokenizer_folder.write(source, folder, force=force, strict=strict, as_json=as_json)
    quantization_page.require_place(page, folder, reference, force=force)
    original = quantization_page.read_original(reference)
    chosen: Mapping[str, Any] = {
        "dtype": dtype, "max_shard_size": max_shard_size, "strict": strict, "allow_unknown": allow_unknown
    }  # fmt: skip
    there = os.fspath(source.absolute())
    with telling.told("convert", there, chosen, url, is_there=source.is_file) as run:
        try:
            with console.progress("converting") as progress, output_errors_told_apart(source, folder):
                conversion = converter.convert(
                    source, folder, threads=threads, force=force, run=run, progress=progress, **chosen
                )
        except converter.OnlyVocabulary:
            return tokenizer_folder.write(source, folder, force=force, strict=strict, as_json=as_json)
        recorded = recording.record(conversion.folder, conversion.to_json(), name, url)
    for warning in conversion.warnings:
        console.note(NAME, f"warning: {warning}")
    report = None
    if level != "none":
        report, recorded = checked(conversion, level, recorded, url)
    error = None if page is None else quantization_page.draw(conversion, page, original)
    for trouble in (report, recorded, error):
        if isinstance(trouble, Failure):
            console.note(NAME, trouble.message)
    if as_json:
        console.write_json(document(conversion, report, recorded, error))
    else:
        click.echo(summary(conversion, report, recorded))
    return error.exit_code if isinstance(error, Failure) else exit_code(report, recorded)


def folder_name(source: Path) -> str:
    """The file's name without .gguf; for one part of a split model, the name that its parts share."""
    stem = source.name.removesuffix(".gguf")
    return SPLIT.sub("", stem) or stem


@contextlib.contextmanager
def output_errors_told_apart(source: Path, folder: Path) -> Iterator[None]:
    """Within it "no such file" and its like, said of the place that is written, is an OutputError."""
    try:
        yield
    except OSError as error:
        target = os.path.abspath(folder)  # noqa: PTH100  # resolve() would follow a link at the target
        parent, name = os.path.split(target)
        named = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        above = named and f"{target}/".startswith(f"{named}/")
        at_target = above or named.startswith((target, os.path.join(parent, f".{name}.")))  # noqa: PTH118
        if at_target and error.errno in NO_SUCH_FILE and os.path.lexists(source):
            raise OutputError(error.errno, error.strerror, error.filename) from error
        raise


def checked(
    conversion: Conversion, level: str, recorded: recording.Recorded | Failure, url: str | None
) -> tuple[Report | Failure, recording.Recorded | Failure]:
    """The verification, a run of its own, and where that is recorded; nowhere if the conversion is not."""
    if isinstance(recorded, Failure):
        return verified(conversion, level), recorded
    folder = conversion.folder
    with telling.told("verify", os.fspath(folder), {"level": level}, url, is_there=folder.is_dir) as run:
        report = verified(conversion, level)
        trouble = recording.record_verification(folder, report, run, url)
    return report, trouble if isinstance(trouble, Failure) else recorded


def verified(conversion: Conversion, level: str) -> Report | Failure:
    """The report of a fresh process, which shares nothing with the conversion but the disk."""
    folder, source = os.fspath(conversion.folder), os.fspath(conversion.sources[0].path)
    paths = [os.fspath(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    child = subprocess.run(  # noqa: S603  # our own module, and no shell
        # -P: a folder named `commands` where the user stands is not ours.
        [
            sys.executable,
            "-P",
            "-m",
            "commands.verify",
            folder,
            "--against",
            source,
            "--level",
            level,
            "--no-record",  # we do
            "--json",
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
    )
    if child.returncode in (0, 1):
        return Report.from_json(json.loads(child.stdout))
    how = f"signal {-child.returncode}" if child.returncode < 0 else f"status {child.returncode}"
    again = f"llorch-verify {shown(folder, 200, quoted=False)}"
    return Failure(
        1, "unverified", f"the verification ended with {how}, the folder is kept: {again} tries again"
    )


def exit_code(report: Report | Failure | None, recorded: recording.Recorded | Failure) -> int:
    """The registry's failure before a check's, as `failures.EXIT_CODES` has them in order."""
    if isinstance(recorded, Failure):
        return recorded.exit_code
    if isinstance(report, Failure):
        return report.exit_code
    return 1 if report is not None and report.outcome == "FAILED" else 0


def document(
    conversion: Conversion,
    report: Report | Failure | None,
    recorded: recording.Recorded | Failure,
    error: Comparison | Failure | None,
) -> dict[str, object]:
    """What --json prints: the conversion as conversion.json has it, the report, where both are recorded.

    reference: the error of each tensor, if there was something to compare with.
    """
    return {
        "schema": "llorch.convert/v1",
        "folder": os.fspath(conversion.folder),
        "conversion": conversion.to_json(),
        "verification": report.to_json() if report is not None else None,
        "registry": recorded.to_json(),
        "reference": error.to_json() if error is not None else None,
    }


def summary(
    conversion: Conversion, report: Report | Failure | None, recorded: recording.Recorded | Failure
) -> str:
    """Three lines for a person: what was written, what the checks said, where it is recorded."""
    written = size(sum(file.size for file in conversion.files)).brief
    what = f"{conversion.architecture}, {conversion.dtype}, {len(conversion.tensors)} tensors, {written}"
    lines = [f"converted  {shown(conversion.folder, 200, quoted=False)}  ({what})"]
    if isinstance(report, Report):
        lines += [f"verified   {report.outcome}  ({report.sentence})"]
    if isinstance(recorded, recording.Recorded):
        lines += [f"recorded   {recorded.name}  ({recorded.digest[:18]}, in {recorded.registry})"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
