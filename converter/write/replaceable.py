"""Whether a folder may be replaced: only one that is empty, or that holds what its conversion.json lists.

A mistyped target must not cost what somebody else put there: of a folder that a conversion wrote everything can be
made again, of any other nothing is known.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from llorch.base.record_files import PROVENANCE, RECORD

MOST_BYTES = 256 << 20  # of a record; the largest that a header can lead to is a fifth of it

SCHEMA = re.compile(r"llorch\.(?:conversion|tokenizer)/v\d+")  # any program may call a file conversion.json


def others_in(folder: Path) -> Iterator[str]:
    """The paths in `folder` that no conversion wrote, nearest first: none of an empty folder.

    Where there is no conversion.json, or one that is not ours or lists no files, that is everything. A subfolder is
    named as one, with a `/`, unless something in it is listed. OSError for what cannot be read.
    """
    listed = _list_files(folder)
    kept = {name.partition("/")[0] for name in listed if "/" in name}
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in kept:
                yield f"{entry.name}/"
                continue
            below = Path(entry.path)
            for path in sorted(below.rglob("*")):
                name = path.relative_to(folder).as_posix()
                if (path.is_symlink() or not path.is_dir()) and name not in listed:
                    yield name
        elif entry.name not in listed:
            yield entry.name


def _list_files(folder: Path) -> set[str]:
    """What the folder's record lists, itself included; nothing where there is no record."""
    path = folder / RECORD
    try:
        if path.is_symlink() or path.stat().st_size > MOST_BYTES:
            return set()
        document = json.loads(path.read_bytes())
        if not SCHEMA.fullmatch(document["schema"]):
            return set()
        names = {str(row["path"]) for row in document["files"]}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()
    return names | {RECORD, PROVENANCE} if names else set()
