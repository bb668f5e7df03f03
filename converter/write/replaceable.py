"""Whether a folder may be replaced: only if it is empty or contains just the files that its conversion.json lists.

So a mistyped target does not destroy someone's files: what a conversion wrote can be made again.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from llorch.base.record_files import PROVENANCE, RECORD

MOST_BYTES = 256 << 20  # of a record; five times the largest that a header can lead to

SCHEMA = re.compile(r"llorch\.(?:conversion|tokenizer)/v\d+")  # any program may call a file conversion.json


def foreign_files(folder: Path) -> Iterator[str]:
    """Yield the paths in `folder` that no conversion wrote.

    That is everything if there is no conversion.json, or one that is not ours or lists no files. A subfolder is
    yielded as one path, with a `/`, unless a file in it is listed. OSError for what cannot be read.
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
    """Return the paths that the folder's record lists, with the records themselves; none if there is no record."""
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
