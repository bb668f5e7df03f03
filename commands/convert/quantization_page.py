"""`--report` and `--reference`: write the quantization report as an HTML page, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch.base.errors import InputError
from llorch.commands.cli import Failure, failure, write_file
from llorch.converter import TargetExists

if TYPE_CHECKING:
    from llorch.converter import Conversion
    from llorch.converter.quantization import ReferenceComparison
    from llorch.formats import SafetensorsModel


def require_place(page: Path | None, folder: Path, reference: Path | None, *, force: bool) -> None:
    """Check, before anything is converted, that the page can be written afterwards.

    Raises click.UsageError, and TargetExists for a file that exists and isn't to be replaced.
    """
    if page is None:
        if reference is not None:
            raise click.UsageError("--reference is for --report FILE.html, which is not given")
        return
    if page.suffix.lower() != ".html":  # a slip of the hand must not replace a model
        raise click.UsageError(f"--report {str(page)!r} does not end in .html")
    if page.resolve().is_relative_to(folder.resolve()):
        raise click.UsageError(
            "--report is inside the folder that is written, which holds only what belongs to the model"
        )
    if not page.parent.is_dir():
        raise click.UsageError(f"--report {str(page)!r} is in a folder that is not there")
    if os.path.lexists(page) and not force:
        raise TargetExists(page, "the report exists already (--force replaces it)")


def read_original(reference: Path | None) -> SafetensorsModel | None:
    """Read the headers of the original model, if given; raises what `converter.quantization.read_reference` does."""
    if reference is None:
        return None
    from llorch.converter.quantization import read_reference  # loads NumPy, which --help does not need

    return read_reference(reference)


def draw(
    conversion: Conversion, page: Path, original: SafetensorsModel | None
) -> ReferenceComparison | Failure | None:
    """Write the page and return the comparison with the original, or the failure. The folder is kept either way."""
    from llorch.converter.quantization import error as reference  # as above
    from llorch.converter.quantization_report import page as report_page

    try:
        comparison = (
            None if original is None else reference.compare_with_reference(conversion.folder, original)
        )
        write_file(page, report_page.page(conversion, comparison))
    except (OSError, InputError) as error:
        return failure(error, "llorch-convert")
    return comparison
