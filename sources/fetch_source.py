"""fetch_source(): fetch a model by its reference as text; public as `llorch.fetch`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from llorch.base.progress import Progress
from llorch.sources.download import Download, fetch
from llorch.sources.select.files import FileFilter
from llorch.sources.select.reference import parse_source
from llorch.sources.transport import destination_for, open_source


def fetch_source(
    source: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    revision: str | None = None,
    quant: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    sha256: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Download:
    """Download `source`, and check every file before it gets its name.

    source: owner/repo, owner/repo@revision, owner/repo:file.gguf (a split set is fetched whole), or a URL. folder: the
    destination; by default huggingface_hub's cache, for a URL the current folder. quant, include, exclude: which files
    of a repository. sha256: the expected digest of a URL's file. overwrite: replace files in `folder` that differ.
    progress: called with (bytes done, total bytes).

    Raises SourceError, InputError for a file that is not what its name says, and OSError. Nothing is recorded in the
    registry: `llorch-fetch` does that too.

    >>> found = fetch_source(url, "models", sha256=sha256)
    >>> [file.path.name for file in found.files]
    ['model.gguf']
    """
    reference = parse_source(source, revision)
    choice = FileFilter(quant, tuple(include), tuple(exclude))
    with open_source(reference, choice, sha256=sha256) as remote:
        target = None if folder is None else Path(folder)
        destination = destination_for(remote, target, str(reference), overwrite=overwrite)
        return fetch(remote, destination, str(reference), progress)
