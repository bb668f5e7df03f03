"""A fake Hugging Face Hub on loopback, with injectable faults. Nothing leaves this machine.

A test takes the fixture `hub` of `tests.hub.fixtures`, fills it, sets a fault, runs a client, and counts:

    model = hub.repository("owner/model", {"config.json": b"{}", "model.gguf": DiskFile(path)}, license="mit")
    cut = hub.fault("cdn", "*.gguf", Cut(after=1000, times=1))
    hf_hub_download("owner/model", "model.gguf")            # or a subprocess with env=hub.environment
    assert cut.fired == 1
    assert [row.headers.get("range") for row in hub.requests if row.server == "cdn"] == [None, "bytes=1000-"]

Three servers listen: the hub (its API, and the files that git has), the CDN to which it redirects for LFS files, and a
website for plain URLs (`hub.publish`). Without pytest: `with running() as servers: hub = servers.new_hub(folder)`.
"""

from tests.hub.exchanges import Exchange
from tests.hub.faults import (
    Cut,
    Drip,
    Endless,
    ExtraEntries,
    Fault,
    FlipByte,
    Gzip,
    Html,
    IgnoreRange,
    LyingSize,
    RedirectLoop,
    RedirectTo,
    Replaced,
    Status,
    Switch,
    WrongDigest,
    WrongRange,
)
from tests.hub.hub import Addresses, Hub
from tests.hub.repository import (
    EQUAL_UNDER_CASEFOLD,
    HOSTILE_NAMES,
    Content,
    DiskFile,
    Repository,
    lfs_pointer,
)
from tests.hub.server import Servers, running

__all__ = [
    "EQUAL_UNDER_CASEFOLD",
    "HOSTILE_NAMES",
    "Addresses",
    "Content",
    "Cut",
    "DiskFile",
    "Drip",
    "Endless",
    "Exchange",
    "ExtraEntries",
    "Fault",
    "FlipByte",
    "Gzip",
    "Html",
    "Hub",
    "IgnoreRange",
    "LyingSize",
    "RedirectLoop",
    "RedirectTo",
    "Replaced",
    "Repository",
    "Servers",
    "Status",
    "Switch",
    "WrongDigest",
    "WrongRange",
    "lfs_pointer",
    "running",
]
