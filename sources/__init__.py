"""Where files come from: looked at before they are fetched, fetched whole, and proven before they have a name.

    reference = sources.parse_source("owner/repo:model.gguf")
    with sources.opened(reference) as remote:
        outlook = sources.look_ahead(remote, empty_folder)     # by ranges: what it is, whether it will serve
        fetched = sources.fetch(remote, sources.place_for(remote, None), str(reference))

    sources.found_at("/home/me/.ollama/models")                # models that are on the disk already

Imported lazily: the clients are slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.sources.download import Fetched, FetchedFile, fetch
    from llorch.sources.offer import Offer, Remote, RemoteFile
    from llorch.sources.preview.preview import Outlook, look_ahead
    from llorch.sources.scan import LocalModel, found_at, proven_here
    from llorch.sources.select.files import Wish
    from llorch.sources.select.reference import HubReference, UrlReference, parse_source
    from llorch.sources.transport import opened, place_for

__all__ = [
    "Fetched",
    "FetchedFile",
    "HubReference",
    "LocalModel",
    "Offer",
    "Outlook",
    "Remote",
    "RemoteFile",
    "UrlReference",
    "Wish",
    "fetch",
    "found_at",
    "look_ahead",
    "opened",
    "parse_source",
    "place_for",
    "proven_here",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "download": ["Fetched", "FetchedFile", "fetch"],
        "offer": ["Offer", "Remote", "RemoteFile"],
        "preview.preview": ["Outlook", "look_ahead"],
        "scan": ["LocalModel", "found_at", "proven_here"],
        "select.files": ["Wish"],
        "select.reference": ["HubReference", "UrlReference", "parse_source"],
        "transport": ["opened", "place_for"],
    },
)
