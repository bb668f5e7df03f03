"""`llorch-convert --tokenizer-only`, and the conversion of a file that has only a vocabulary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch import converter
from llorch.base.printable import printable
from llorch.commands import cli

if TYPE_CHECKING:
    from llorch.formats.scan import Allowance

NAME = "llorch-convert"


def write_tokenizer(
    source: Path,
    folder: Path,
    *,
    force: bool,
    strict: bool,
    as_json: bool,
    allow: Sequence[Allowance] = (),
) -> int:
    """Write the tokenizer's files and print a summary; without weights there is nothing to verify or record."""
    written = converter.convert_tokenizer(source, folder, force=force, strict=strict, allow=allow)
    for warning in written.warnings:
        cli.note(NAME, f"warning: {warning}")
    if as_json:
        cli.write_json(document(written))
    else:
        files = f"{written.size:,} tokens, {len(written.files)} files"
        click.echo(f"tokenizer  {printable(written.folder, 200, quoted=False)}  ({files})")
    return 0


def document(written: converter.TokenizerFolder) -> dict[str, object]:
    """Return the document for --json."""
    return {
        "schema": "llorch.tokenizer/v1",
        "folder": os.fspath(written.folder),
        "tokens": written.size,
        "files": [asdict(file) for file in written.files],
        "notes": list(written.notes),
        "warnings": list(written.warnings),
        "chat_templates": {path: asdict(report) for path, report in written.templates.items()},
    }
