"""`llorch-convert`: convert a GGUF file, check the result in a new process, and record both."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch import converter, formats, verification
from llorch.commands import cli
from llorch.commands.cli import NO_SUCH_FILE, Failure, OutputError
from llorch.commands.convert import quantization_page
from llorch.commands.convert.result import ConvertResult
from llorch.commands.convert.tokenizer import write_tokenizer
from llorch.commands.ledger import (
    RecordResult,
    checked_name,
    load_registry_ahead,
    locate_model,
    name_taken,
    record_conversion,
    record_verification,
    registry_location,
    tracked_run,
)
from llorch.verification import Report

if TYPE_CHECKING:
    from llorch.base.progress import Progress
    from llorch.converter import Conversion, ConvertOptions, SourceSignature
    from llorch.formats.scan import Allowance
    from llorch.registry import Location

NAME = "llorch-convert"

SUFFIX = ".gguf"
SPLIT = re.compile(r"-\d{5}-of-\d{5}$")  # gguf-split's ending for the parts of one model


class DtypeType(click.Choice[str]):
    """A dtype by name, or by an alias that other tools use: bf16, fp16, f16, f32, fp32."""

    def __init__(self) -> None:
        super().__init__(["auto", "float32", "float16", "bfloat16"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the full name."""
        return super().convert(converter.DTYPE_ALIASES.get(value, value), param, ctx)


class SettingType(click.ParamType[tuple[str, object]]):
    """A key of config.json and its value, as KEY=VALUE."""

    name = "setting"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, object]:
        """Return (key, value); a usage error for text that isn't KEY=VALUE."""
        if isinstance(value, tuple):  # click passes converted values through here again
            return value
        try:
            return converter.parse_setting(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@cli.command(NAME, example=f"{NAME} SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2 --verify full")
@click.argument("source", type=cli.PATH, shell_complete=cli.complete_model)
@click.option(
    "-o",
    "--output",
    "folder",
    metavar="DIR",
    type=cli.PATH,
    help="The folder to write.  [default: named after the file, in the current directory]",
)
@click.option(
    "--dtype",
    type=DtypeType(),
    default="auto",
    show_default=True,
    help="Type of the weights. auto: the narrowest that loses nothing; bfloat16 for a quantized source, but for "
    "gpt-oss' MXFP4 experts, which stay as they are.",
)
@click.option(
    "--max-shard-size",
    metavar="SIZE",
    type=cli.SIZE,
    default="5GB",
    show_default=True,
    help="Largest size of a weights file; a larger model is split into several.",
)
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    type=SettingType(),
    multiple=True,
    help="What the file does not say of the model: a key of config.json, and its value as JSON or as text.",
)
@click.option(
    "--reference-config",
    metavar="DIR",
    type=cli.PATH,
    help="The original's folder, or its config.json: says what of ours differs in effect.",
)
@cli.verify_option("How thoroughly the result is checked.")
@click.option(
    "--source-key",
    metavar="FILE.pem",
    type=cli.PATH,
    help="The public key that signed SOURCE: verified, and recorded; another key's, or none, is an error.",
)
@click.option("--name", callback=checked_name, help="Its name in the registry.  [default: the folder's]")
@cli.registry_option
@click.option("--threads", type=click.IntRange(min=1), help="Threads to work with.  [default: all cores]")
@click.option("--force", is_flag=True, help="Replace the folder, if a conversion wrote all that is in it.")
@click.option("--strict", is_flag=True, help="Make an error of every warning.")
@cli.allow_option
@click.option(
    "--allow-unknown", is_flag=True, help="Leave out tensors and keys that are not known, with a warning."
)
@click.option(
    "--report",
    "page",
    metavar="FILE.html",
    type=cli.PATH,
    help="Write a page about the quantization: types, sizes, scales, as charts.",
)
@click.option(
    "--reference",
    metavar="DIR",
    type=cli.PATH,
    help="The original model's folder: the report shows the error of each tensor.",
)
@click.option("--tokenizer-only", is_flag=True, help="Write the tokenizer's files and nothing else.")
def main(
    source: Path,
    folder: Path | None,
    dtype: str,
    max_shard_size: int,
    settings: Sequence[tuple[str, object]],
    reference_config: Path | None,
    level: str,
    source_key: Path | None,
    name: str | None,
    url: str | None,
    threads: int | None,
    force: bool,
    strict: bool,
    allow: Path | None,
    allow_unknown: bool,
    page: Path | None,
    reference: Path | None,
    tokenizer_only: bool,
    as_json: bool,
) -> int:
    """Convert SOURCE, a .gguf file, into a safetensors folder, check it in a new process, record both."""
    source = locate_model(source, url, for_use=True)
    if tokenizer_only or not source.is_file():
        source = formats.model_path(source)
    folder = folder or Path(folder_name(source))
    taken = cli.allowances(allow)
    if tokenizer_only:
        return write_tokenizer(source, folder, force=force, strict=strict, as_json=as_json, allow=taken)
    quantization_page.require_place(page, folder, reference, force=force)
    original = quantization_page.read_original(reference)
    original_config = (
        None if reference_config is None else verification.read_reference_config(reference_config)
    )
    options = converter.ConvertOptions(dtype, max_shard_size, strict, allow_unknown, dict(settings))
    location = registry_location(url)
    done = convert_and_check(
        source,
        folder,
        options,
        level,
        name,
        location,
        threads=threads,
        force=force,
        allow=taken,
        source_key=source_key,
    )
    if done is None:
        return write_tokenizer(source, folder, force=force, strict=strict, as_json=as_json, allow=taken)
    if original_config is not None:
        done = replace(done, config=verification.compare_configs(done.conversion.folder, original_config))
    error = None if page is None else quantization_page.draw(done.conversion, page, original)
    if isinstance(error, Failure):
        cli.note(NAME, error.message)
    if as_json:
        cli.write_json(done.to_json(error))
    else:
        click.echo(cli.paint(done.summary()), color=True)
    return error.exit_code if isinstance(error, Failure) else done.exit_code


def convert_and_check(
    source: Path,
    folder: Path,
    options: ConvertOptions,
    level: str,
    name: str | None,
    location: Location,
    *,
    threads: int | None = None,
    force: bool = False,
    allow: Sequence[Allowance] = (),
    source_key: Path | None = None,
) -> ConvertResult | None:
    """Convert, verify and record; print warnings, and failures after the conversion, on stderr.

    Raises what `converter.convert` does, except OnlyVocabulary: a source without weights is not converted, so
    there is no run, and None is returned.
    """
    there = os.fspath(source.absolute())
    with tracked_run("convert", there, options.to_json(), location, is_there=source.is_file) as run:
        try:
            formats.model_path(source)  # within the run, so that "not a model" is recorded as its failure
            signature = None if source_key is None else source_signed_by(source, source_key)
            with cli.progress("converting") as progress, output_errors(source, folder):
                conversion = converter.convert(
                    source,
                    folder,
                    options,
                    allow=allow,
                    threads=threads,
                    force=force,
                    source_signature=signature,
                    run_id=run.id,
                    started=run.started,
                    progress=loading_registry(progress),
                )
        except converter.OnlyVocabulary:
            return None
        recorded = record_conversion(conversion.folder, conversion.to_json(), name, location)
    for warning in conversion.warnings:
        cli.note(NAME, f"warning: {warning}")
    report = None
    if level != "none":
        try:
            report, recorded = check_and_record(conversion, level, recorded, location)
        except cli.Signalled:
            cli.note(NAME, without_check(conversion.folder, recorded))
            raise
    if isinstance(recorded, RecordResult) and (taken := name_taken(recorded)):
        cli.note(NAME, taken)
    if isinstance(recorded, RecordResult) and recorded.refused is not None:
        cli.note(NAME, recorded.refused)
    for trouble in (report, recorded):
        if isinstance(trouble, Failure):
            cli.note(NAME, trouble.message)
    return ConvertResult(conversion, report, recorded)


def loading_registry(progress: Progress | None) -> Progress:
    """Wrap `progress` to start loading the registry at the first report: it is needed after the last weights."""
    is_loading = False

    def report(done: int, total: int) -> None:
        nonlocal is_loading
        if not is_loading:
            is_loading = True
            load_registry_ahead()
        if progress is not None:
            progress(done, total)

    return report


def source_signed_by(source: Path, key: Path) -> SourceSignature:
    """Verify the signature of the source's files with `key` and return what it signed. InputError for another key."""
    from llorch.formats import signatures  # cryptography, which a conversion without a key does not need
    from llorch.formats.gguf import read_header  # NumPy, as above

    public = signatures.public_key(key)
    parts = [part.path for part in read_header(source).parts]
    return converter.read_source_signature(
        parts,
        f"key:{signatures.key_id(public)}",
        lambda _, envelope: signatures.verify_envelope(envelope, public),
    )


def without_check(folder: Path, recorded: RecordResult | Failure) -> str:
    """Return the line for a conversion whose check was stopped: what is kept, and how to check it."""
    known = f", recorded as {recorded.name}" if isinstance(recorded, RecordResult) else ""
    return f"{folder} is converted and kept{known}, but not checked: `llorch-verify {folder}` checks it"


def folder_name(source: Path) -> str:
    """Return the default output folder: the file's name without .gguf, for a split model the name its parts share.

    For a file without that suffix, as a blob of Ollama's store, it is NAME-hf, since NAME is the source itself.
    """
    ending = source.name[-len(SUFFIX) :]
    if ending.lower() != SUFFIX:
        return f"{source.name}-hf"
    stem = source.name.removesuffix(ending)
    return SPLIT.sub("", stem) or stem or source.name


@contextlib.contextmanager
def output_errors(source: Path, folder: Path) -> Iterator[None]:
    """Within the `with` block, turn "no such file" and its like into OutputError if it is about the output folder."""
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


def check_and_record(
    conversion: Conversion, level: str, recorded: RecordResult | Failure, location: Location
) -> tuple[Report | Failure, RecordResult | Failure]:
    """Verify as a run of its own and record that, if the conversion is recorded; return the report and the record."""
    if isinstance(recorded, Failure):
        return verify(conversion, level), recorded
    folder = conversion.folder
    with tracked_run("verify", os.fspath(folder), {"level": level}, location, is_there=folder.is_dir) as run:
        report = verify(conversion, level)
        trouble = record_verification(folder, report, run, location)
    return report, trouble if isinstance(trouble, Failure) else recorded


def verify(conversion: Conversion, level: str) -> Report | Failure:
    """Verify the conversion in a new process and return the report."""
    return cli.verify_in_fresh_process(
        conversion.folder, level, "--just-written", "--against", os.fspath(conversion.sources[0].path)
    )
