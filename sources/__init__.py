"""Where files come from: looked at before they are fetched, fetched whole, and proven before they have a name.

    reference = sources.parse_source("owner/repo:model.gguf")
    with sources.opened(reference) as remote:
        outlook = sources.look_ahead(remote, empty_folder)     # by ranges: what it is, whether it will serve
        fetched = sources.fetch(remote, sources.place_for(remote, None), str(reference))

    sources.found_at("/home/me/.ollama/models")                # models that are on the disk already

Imported lazily: the clients are slow to load.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llorch.sources.fetching import Fetched, FetchedFile, fetch
    from llorch.sources.local import LocalModel, found_at, proven_here
    from llorch.sources.opening import opened, place_for
    from llorch.sources.preflight import Outlook, look_ahead
    from llorch.sources.reference import HubReference, UrlReference, parse_source
    from llorch.sources.remote import Offer, Remote, RemoteFile
    from llorch.sources.selection import Wish

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

_HOMES = {
    "Fetched": "fetching",
    "FetchedFile": "fetching",
    "HubReference": "reference",
    "LocalModel": "local",
    "Offer": "remote",
    "Outlook": "preflight",
    "Remote": "remote",
    "RemoteFile": "remote",
    "UrlReference": "reference",
    "Wish": "selection",
    "fetch": "fetching",
    "found_at": "local",
    "look_ahead": "preflight",
    "opened": "opening",
    "parse_source": "reference",
    "place_for": "opening",
    "proven_here": "local",
}


def __getattr__(name: str) -> object:
    """A public name's object, from the module that it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"sources.{_HOMES[name]}"), name)
