"""The hub's interface for tests: its repositories, token, faults and recorded requests."""

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
# else each fresh home asks the hub for /api/agent-harnesses
NO_AGENTS = '{"standardEnvVars": [], "harnesses": {}}'


@dataclass(frozen=True)
class Addresses:
    """The base URLs of the three servers: `http://HOST:PORT`, without a slash at the end."""

    hub: str
    cdn: str
    site: str


class Hub:
    """A hub's repositories, a plain website's files, the token, faults, and the exchanges.

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
        """The hub's endpoint, for HF_ENDPOINT."""
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
        """Create a repository, with a first commit on main if `files` are given; for the rest see `Repository`."""
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
        """Publish a file on the website; return its URL.

        etag: with its quotes, perhaps weak; "" makes one of the content, None sends none.
        """
        data = bytes_of(content)
        tag = f'"{sha256_of(content)[:ETAG_LENGTH]}"' if etag == "" else etag
        self.site[name] = File(name, data, data.size, tag, blob_id="")
        return f"{self.addresses.site}/files/{quote(name)}"

    def fault(
        self, server: str, pattern: str, fault: Fault, *, method: str | None = None, skip: int = 0
    ) -> Switch:
        """Set a fault on "hub", "cdn" or "site", after those already set; for the rest see `Switch`."""
        if server not in ("hub", "cdn", "site"):
            raise ValueError(f"no server is called {server}: hub, cdn, site")
        switch = Switch(server, pattern, fault, method, skip)
        self.faults.switches.append(switch)
        return switch

    def mend(self) -> None:
        """Remove all faults."""
        self.faults.switches.clear()

    @property
    def requests(self) -> list[Exchange]:
        """The exchanges until now, in order, including those still running."""
        return self.exchanges.rows()

    def sent(self, pattern: str = "*", *, server: str | None = None) -> int:
        """Return the number of body bytes sent for matching paths."""
        return sum(
            row.sent
            for row in self.requests
            if server in (None, row.server) and fnmatchcase(row.path, pattern)
        )

    def clear(self) -> None:
        """Forget the requests; repositories, tokens and faults stay."""
        self.exchanges.clear()

    def wait_until_quiet(self, timeout_s: float = 10.0) -> bool:
        """Wait until no answer is being sent, as after a client was killed; return False after the timeout."""
        return self.exchanges.wait_until_over(timeout_s)

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that point a client at this hub; without a token, which the test may set."""
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
        """The environment for a subprocess: this process's without the FOREIGN variables, plus `variables`."""
        own = {name: value for name, value in os.environ.items() if not name.upper().startswith(FOREIGN)}
        return own | self.variables
