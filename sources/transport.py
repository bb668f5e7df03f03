"""Choosing the transport and the destination for a reference."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants

from llorch.sources.errors import ChoiceNeeded, Unreachable
from llorch.sources.local.destination import Destination, FolderDestination, HubCache
from llorch.sources.offer import Remote
from llorch.sources.remote.http import Patience
from llorch.sources.remote.hub import HubRepository
from llorch.sources.remote.hub_cache import CachedRepository
from llorch.sources.remote.url import UrlFile
from llorch.sources.select.files import FileFilter, select_files
from llorch.sources.select.reference import HubReference, UrlReference


@contextmanager
def open_source(
    reference: HubReference | UrlReference,
    wish: FileFilter | None = None,
    *,
    sha256: str | None = None,
    patience: Patience | None = None,
) -> Iterator[Remote]:
    """Open a source and select its files by `wish`. Raises SourceError.

    sha256: the expected digest of a URL's file.
    """
    wish = wish or FileFilter()
    if isinstance(reference, UrlReference) and constants.is_offline_mode():
        raise Unreachable(str(reference), "HF_HUB_OFFLINE forbids to fetch anything")
    if isinstance(reference, UrlReference):
        if wish != FileFilter():
            raise ChoiceNeeded(str(reference), "a URL is of one file: there is nothing to choose from")
        with UrlFile(reference, sha256, patience=patience) as file:
            yield file
        return
    if sha256 is not None:
        raise ChoiceNeeded(str(reference), "--sha256 is for a URL: a hub promises digests itself")
    choose = functools.partial(
        select_files, wish=wish, source=str(reference), named=reference.path is not None
    )
    if constants.is_offline_mode():
        with CachedRepository(reference, choose) as cached:
            yield cached
        return
    with HubRepository(reference, choose, patience=patience) as repository:
        yield repository


def destination_for(
    remote: Remote, folder: Path | None, source: str, *, overwrite: bool = False
) -> Destination:
    """Return the destination: `folder`, else the hub's cache, or the current folder for a URL."""
    if folder is not None:
        return FolderDestination(folder, source, overwrite=overwrite)
    if remote.offer.kind == "hub":
        return HubCache(remote.offer, source)
    return FolderDestination(Path(), source, overwrite=overwrite)
