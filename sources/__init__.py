"""Downloading models: preview them by their headers, fetch whole files, and check them before they get their names.

    reference = sources.parse_source("owner/repo:model.gguf")
    with sources.open_source(reference) as remote:
        previews = sources.preview_models(remote, empty_folder)   # by range requests: what it is, is it supported?
        destination = sources.destination_for(remote, None, str(reference))
        fetched = sources.fetch(remote, destination, str(reference))

    sources.find_models(Path("/home/me/.ollama/models"))          # models that are on the disk already

The names are imported lazily, since the HTTP clients are slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.sources.download import Download, FetchedFile, fetch
    from llorch.sources.errors import NoRanges, SourceError
    from llorch.sources.fetch_source import fetch_source
    from llorch.sources.local.destination import Destination
    from llorch.sources.offer import Offer, Remote, RemoteFile
    from llorch.sources.preview.preview import Preview, preview_file, preview_models
    from llorch.sources.scan import LocalModel, find_models, prove_in_place
    from llorch.sources.select.files import FileFilter, ending, models_of
    from llorch.sources.select.reference import HubReference, UrlReference, parse_source
    from llorch.sources.transport import destination_for, open_source

__all__ = [
    "Destination",
    "Download",
    "FetchedFile",
    "FileFilter",
    "HubReference",
    "LocalModel",
    "NoRanges",
    "Offer",
    "Preview",
    "Remote",
    "RemoteFile",
    "SourceError",
    "UrlReference",
    "destination_for",
    "ending",
    "fetch",
    "fetch_source",
    "find_models",
    "models_of",
    "open_source",
    "parse_source",
    "preview_file",
    "preview_models",
    "prove_in_place",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "download": ["Download", "FetchedFile", "fetch"],
        "errors": ["NoRanges", "SourceError"],
        "fetch_source": ["fetch_source"],
        "local.destination": ["Destination"],
        "offer": ["Offer", "Remote", "RemoteFile"],
        "preview.preview": ["Preview", "preview_file", "preview_models"],
        "scan": ["LocalModel", "find_models", "prove_in_place"],
        "select.files": ["FileFilter", "ending", "models_of"],
        "select.reference": ["HubReference", "UrlReference", "parse_source"],
        "transport": ["destination_for", "open_source"],
    },
)
