"""Claims on tasks: small files in a folder that all drivers share, each one attempt at a task, with a lease.

`KEY.N` is the N-th attempt at the task KEY. It is created by a driver that finds the previous attempt ended or silent;
only one process can create it. Its holder rewrites it while it is alive, and writes into it how the attempt ended.
Numbers are never reused, so no driver can mistake another's attempt for its own.

Clocks of different hosts are never compared. A lease has expired when the file has not changed for its duration, by
the observer's own monotonic clock, so this also works between hosts whose clocks differ by an hour.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

NAME = re.compile(r"([0-9a-f]{64})\.(\d{1,9})")
SIZE = 2048  # bytes of every claim file: a fixed size, so that rewriting it is one write in place
LONGEST_CAUSE = 600  # characters kept of the reason an attempt ended

LEASE_S = 60.0
STOPPED = "stopped"  # cause of an attempt whose driver was stopped; such an attempt doesn't count as a try


class ClaimFiles(Protocol):
    """The five atomic operations on claim files."""

    def names(self) -> list[str]:
        """Return the names of all files."""

    def create(self, name: str, content: bytes) -> bool:
        """Create a file; return False if it exists already. Of several processes only one succeeds."""

    def read(self, name: str) -> bytes | None:
        """Return the content; None if the file doesn't exist."""

    def overwrite(self, name: str, content: bytes) -> bool:
        """Replace the content in place; return False, and create nothing, if the file doesn't exist."""

    def remove(self, name: str) -> None:
        """Delete the file if it exists."""


class FilesInFolder:
    """Claim files in a folder, which is created when needed; works on NFS as on a local disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """See `ClaimFiles.names`."""
        with suppress(FileNotFoundError):
            return os.listdir(self._folder)  # noqa: PTH208  # only names, of thousands of files
        return []

    def create(self, name: str, content: bytes) -> bool:
        """See `ClaimFiles.create`. A kill between its two steps leaves an empty file: a claim that expires."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileExistsError:
            return False
        try:
            os.pwrite(fd, content, 0)
        finally:
            os.close(fd)
        return True

    def read(self, name: str) -> bytes | None:
        """See `ClaimFiles.read`."""
        with suppress(FileNotFoundError):
            return (self._folder / name).read_bytes()
        return None

    def overwrite(self, name: str, content: bytes) -> bool:
        """See `ClaimFiles.overwrite`."""
        try:
            fd = os.open(self._folder / name, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            os.pwrite(fd, content, 0)
        finally:
            os.close(fd)
        return True

    def remove(self, name: str) -> None:
        """See `ClaimFiles.remove`."""
        (self._folder / name).unlink(missing_ok=True)


@dataclass(slots=True)
class Claim:
    """An attempt that this process holds until `Claims.renew` returns False. about: facts for other observers."""

    key: str
    number: int
    token: str
    about: Mapping[str, Any]
    beats: int = 0

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.key}.{self.number}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as observed. about: facts from its holder, empty if that was killed while creating the file.

    ended: the cause, None while it runs. silent: its lease has expired.
    """

    key: str
    number: int
    about: Mapping[str, Any]
    ended: str | None
    silent: bool
    content: bytes = field(repr=False, default=b"")

    @property
    def is_live(self) -> bool:
        """Whether a driver is working on it."""
        return self.ended is None and not self.silent

    @property
    def cause(self) -> str:
        """Why another attempt is needed, in words."""
        if self.ended is not None:
            return self.ended
        return f"the driver {self.about.get('pid', '')} on {self.about.get('host', 'an unknown host')} fell silent"


class Claims:
    """The attempts at all tasks. lease_s: seconds without renewal until a claim expires; holders renew more often."""

    def __init__(
        self, files: ClaimFiles, lease_s: float = LEASE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files
        self._lease_s = lease_s
        self._clock = clock
        self._seen: dict[str, tuple[bytes, float]] = {}

    def look(self) -> dict[str, list[Attempt]]:
        """Read all claims; return each task's attempts, the latest last. One changed since the last call is live."""
        found: dict[str, list[Attempt]] = {}
        for name in self._files.names():
            if NAME.fullmatch(name) and (content := self._files.read(name)) is not None:
                attempt = self._parse_attempt(name, content)
                found.setdefault(attempt.key, []).append(attempt)
        there = {f"{one.key}.{one.number}" for attempts in found.values() for one in attempts}
        self._seen = {name: seen for name, seen in self._seen.items() if name in there}
        for attempts in found.values():
            attempts.sort(key=lambda attempt: attempt.number)
        return found

    def take(self, key: str, about: Mapping[str, Any], before: Attempt | None) -> Claim | None:
        """Claim the next attempt at a task; None if another driver was faster.

        before: the latest attempt that `look` returned, ended or silent; None if there was none.
        """
        if before is not None and before.is_live:
            return None
        claim = Claim(key, (before.number if before else 0) + 1, secrets.token_hex(8), about)
        if not self._files.create(claim.name, _content(claim)):
            return None
        # Since `look`, the previous attempt may have been renewed, or a later one may have been created.
        numbers = [
            int(found[2])
            for name in self._files.names()
            if (found := NAME.fullmatch(name)) and found[1] == key
        ]
        now = None if before is None else self._files.read(f"{key}.{before.number}")
        renewed = before is not None and now is not None and now != before.content
        if renewed or max(numbers, default=0) > claim.number:
            self._files.remove(claim.name)
            return None
        return claim

    def renew(self, claim: Claim) -> bool:
        """Renew the lease; False if another driver has taken over, so that the work must be stopped."""
        if self._files.read(f"{claim.key}.{claim.number + 1}") is not None:
            return False
        claim.beats += 1
        return self._files.overwrite(claim.name, _content(claim))

    def end(self, claim: Claim, cause: str) -> None:
        """Record why an attempt ended without ending its task."""
        self._files.overwrite(claim.name, _content(claim, cause))

    def forget(self, attempts: Iterable[Attempt | Claim]) -> None:
        """Delete the attempts at a task that has its receipt, the first one first."""
        for one in sorted(attempts, key=lambda one: one.number):
            self._files.remove(f"{one.key}.{one.number}")

    def _parse_attempt(self, name: str, content: bytes) -> Attempt:
        """Parse a claim file as an attempt; it is silent if the file has not changed for the duration of its lease."""
        now = self._clock()
        before = self._seen.get(name)
        since = before[1] if before is not None and before[0] == content else now
        self._seen[name] = (content, since)
        try:
            document = json.loads(content)
            about, ended = dict(document["about"]), document["ended"]
            lease_s = max(self._lease_s, float(about.get("lease_s", 0)))
        # truncated while it was created, or torn by a concurrent write
        except (ValueError, LookupError, TypeError):
            about, ended, lease_s = {}, None, self._lease_s
        key, _, number = name.partition(".")
        return Attempt(key, int(number), about, ended, now - since >= lease_s, content)


def _content(claim: Claim, ended: str | None = None) -> bytes:
    """Return the content of a claim's file, always `SIZE` bytes."""
    cause = None if ended is None else ended.encode("ascii", "backslashreplace").decode()[:LONGEST_CAUSE]
    document = {"about": dict(claim.about), "token": claim.token, "beats": claim.beats, "ended": cause}
    text = json.dumps(document).encode()
    assert len(text) < SIZE, "what is said of a claim is short"
    return text.ljust(SIZE - 1) + b"\n"
