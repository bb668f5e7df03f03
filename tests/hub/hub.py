"""A hub as a test sees it: what it has, whom it knows, what goes wrong on it, and what was asked of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import quote

from tests.hub.exchanges import Exchange, Exchanges
from tests.hub.faults import Fault, Faults, Switch
from tests.hub.repository import (
    LFS_FROM_BYTES,
    LFS_SUFFIXES,
    Content,
    File,
    Repository,
    bytes_of,
    sha256_of,
)

PAGE_SIZE = 1000  # as the hub's own; with expand it is 50 there, here the same
ETAG_LENGTH = 32
# What would lead a client elsewhere, or tell it who is at the keyboard.
FOREIGN = (
    "HF_",
    "HUGGING",
    "TRANSFORMERS_",
    "XDG_CACHE_HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
)
NO_AGENTS = (
    '{"standardEnvVars": [], "harnesses": {}}'  # else each fresh home asks the hub for /api/agent-harnesses
)


@dataclass(frozen=True)
class Addresses:
    """Where the three servers listen: `http://HOST:PORT`, without a slash at the end."""

    hub: str
    cdn: str
    site: str


class Hub:
    """Repositories, files of a plain website, tokens, faults, and the exchanges.

    home: a folder for the client's cache and settings. token: the one token that is known; with any other a request is
    refused. page_size: entries on a page of a listing. lfs_suffixes, lfs_from_bytes: for repositories made from now on.
    """

    def __init__(self, addresses: Addresses, home: Path) -> None:
        self.addresses, self.home = addresses, home
        self.token: str | None = None
        self.page_size = PAGE_SIZE
        self.lfs_suffixes, self.lfs_from_bytes = LFS_SUFFIXES, LFS_FROM_BYTES
        self.repositories: dict[str, Repository] = {}
        self.site: dict[str, File] = {}
        self.faults = Faults()
        self.exchanges = Exchanges()
        home.mkdir(parents=True, exist_ok=True)
        (home / ".agent_harnesses.json").write_text(NO_AGENTS)

    @property
    def url(self) -> str:
        """The endpoint, for HF_ENDPOINT."""
        return self.addresses.hub

    def repository(
        self,
        id: str,
        files: Mapping[str, Content | None] | None = None,
        *,
        private: bool = False,
        gated: str | bool = False,
        granted: bool = True,
        license: str | None = None,
        card: Mapping[str, object] | None = None,
    ) -> Repository:
        """A new repository, with a first commit on main if `files` are given; the rest is told at `Repository`."""
        data = {**({"license": license} if license else {}), **(card or {})}
        made = Repository(
            id,
            private=private,
            gated=gated,
            granted=granted,
            card=data,
            lfs_suffixes=self.lfs_suffixes,
            lfs_from_bytes=self.lfs_from_bytes,
        )
        self.repositories[id] = made
        if files is not None:
            made.commit(files)
        return made

    def publish(self, name: str, content: Content, *, etag: str | None = "") -> str:
        """A file of the website; returns its URL.

        etag: with its quotes, perhaps weak; "" makes one of the content, None sends none.
        """
        data = bytes_of(content)
        tag = f'"{sha256_of(content)[:ETAG_LENGTH]}"' if etag == "" else etag
        self.site[name] = File(name, data, data.size, tag, blob_id="")
        return f"{self.addresses.site}/files/{quote(name)}"

    def fault(
        self, server: str, pattern: str, fault: Fault, *, method: str | None = None, skip: int = 0
    ) -> Switch:
        """Sets a fault on "hub", "cdn" or "site", after those that are set; the rest is told at `Switch`."""
        if server not in ("hub", "cdn", "site"):
            raise ValueError(f"no server is called {server}: hub, cdn, site")
        switch = Switch(server, pattern, fault, method, skip)
        self.faults.switches.append(switch)
        return switch

    def mend(self) -> None:
        """Takes all faults away."""
        self.faults.switches.clear()

    @property
    def requests(self) -> list[Exchange]:
        """What was asked until now, in order; those that still go on stand as far as they have come."""
        return self.exchanges.rows()

    def sent(self, pattern: str = "*", *, server: str | None = None) -> int:
        """How many bytes of bodies went out for the paths that match."""
        return sum(
            row.sent
            for row in self.requests
            if server in (None, row.server) and fnmatchcase(row.path, pattern)
        )

    def clear(self) -> None:
        """Forgets the requests; repositories, tokens and faults stay."""
        self.exchanges.clear()

    def wait_until_quiet(self, timeout_s: float = 10.0) -> bool:
        """Waits until no answer is on its way any more, as after a client was killed; whether that is so."""
        return self.exchanges.wait_until_over(timeout_s)

    @property
    def variables(self) -> dict[str, str]:
        """What a client's environment says of this hub. No token: that is the test's to give or not."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(self.home),
            "HF_HUB_CACHE": str(self.home / "hub"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "1",
        }

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment for a subprocess: this process's, less what is foreign, and the variables."""
        own = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
        return own | self.variables
