"""Who works on a task: small files on a folder that all drivers share, each an attempt with a lease.

`KEY.N` is the N-th attempt at the task KEY. It is made by whoever finds the attempt before it ended or silent, and only
one process can make it. Its holder rewrites it as long as it lives; how it ended is written into it too. Numbers are
never used again, so nobody can mistake another's attempt for his own.

No clock is compared with another host's. A lease is over when a file did not change for as long as the lease says, by
the observer's own monotonic clock: hosts whose clocks are an hour apart agree.
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
SIZE = 2048  # bytes of a claim: of one size, so that rewriting it is one write in place
LONGEST_CAUSE = 600  # characters of how an attempt ended that are kept

LEASE_S = 60.0
STOPPED = "stopped"  # how an attempt ends that says nothing of its task: its driver was asked to stop


class ClaimFiles(Protocol):
    """The five things that are done with files, each as one step."""

    def names(self) -> list[str]:
        """All names there are."""

    def create(self, name: str, content: bytes) -> bool:
        """Makes a file; False if it is there already. Two can not both make it."""

    def read(self, name: str) -> bytes | None:
        """The content; None if it is not there."""

    def overwrite(self, name: str, content: bytes) -> bool:
        """Replaces the content in place; False if the file is not there, and then none is made."""

    def remove(self, name: str) -> None:
        """Takes the file away, if it is there."""


class FilesInFolder:
    """Files of a folder, which is made when it is needed; on NFS as good as on a disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """As `ClaimFiles`."""
        with suppress(FileNotFoundError):
            return os.listdir(self._folder)  # noqa: PTH208  # names are wanted, thousands of them
        return []

    def create(self, name: str, content: bytes) -> bool:
        """As `ClaimFiles`. Killed between its two steps it leaves an empty file, a claim that nobody renews."""
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
        """As `ClaimFiles`."""
        with suppress(FileNotFoundError):
            return (self._folder / name).read_bytes()
        return None

    def overwrite(self, name: str, content: bytes) -> bool:
        """As `ClaimFiles`."""
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
        """As `ClaimFiles`."""
        (self._folder / name).unlink(missing_ok=True)


@dataclass(slots=True)
class Claim:
    """An attempt that is ours, as long as `renew` says so. about: what others may know of it."""

    key: str
    number: int
    token: str
    about: Mapping[str, Any]
    beats: int = 0

    @property
    def name(self) -> str:
        """Its file."""
        return f"{self.key}.{self.number}"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as others see it. about: what its holder said of it, empty of one that was killed as it began.

    ended: how, None while it goes on. silent: that its lease is over.
    """

    key: str
    number: int
    about: Mapping[str, Any]
    ended: str | None
    silent: bool
    content: bytes = field(repr=False, default=b"")

    @property
    def is_live(self) -> bool:
        """Whether somebody works on it."""
        return self.ended is None and not self.silent

    @property
    def cause(self) -> str:
        """Why there had to be another attempt, in words."""
        if self.ended is not None:
            return self.ended
        return f"the driver {self.about.get('pid', '')} on {self.about.get('host', 'an unknown host')} fell silent"


class Claims:
    """The attempts at all tasks. lease_s: how long one may keep silent; its holder renews it much oftener."""

    def __init__(
        self, files: ClaimFiles, lease_s: float = LEASE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._files = files
        self._lease_s = lease_s
        self._clock = clock
        self._seen: dict[str, tuple[bytes, float]] = {}

    def look(self) -> dict[str, list[Attempt]]:
        """Every task's attempts, the latest last. What changed since the last look is alive."""
        found: dict[str, list[Attempt]] = {}
        for name in self._files.names():
            if NAME.fullmatch(name) and (content := self._files.read(name)) is not None:
                attempt = self._seen_as(name, content)
                found.setdefault(attempt.key, []).append(attempt)
        there = {f"{one.key}.{one.number}" for attempts in found.values() for one in attempts}
        self._seen = {name: seen for name, seen in self._seen.items() if name in there}
        for attempts in found.values():
            attempts.sort(key=lambda attempt: attempt.number)
        return found

    def take(self, key: str, about: Mapping[str, Any], before: Attempt | None) -> Claim | None:
        """The next attempt, if it can be had. before: the latest that a look showed, ended or silent; None for none."""
        if before is not None and before.is_live:
            return None
        claim = Claim(key, (before.number if before else 0) + 1, secrets.token_hex(8), about)
        if not self._files.create(claim.name, _content(claim)):
            return None
        # Between the look and now the one before may have been renewed, or somebody may have gone further.
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
        """Says that we still work on it; False if it is another's by now, and the work is to be given up."""
        if self._files.read(f"{claim.key}.{claim.number + 1}") is not None:
            return False
        claim.beats += 1
        return self._files.overwrite(claim.name, _content(claim))

    def end(self, claim: Claim, cause: str) -> None:
        """Says how an attempt ended that did not end its task."""
        self._files.overwrite(claim.name, _content(claim, cause))

    def forget(self, attempts: Iterable[Attempt | Claim]) -> None:
        """Takes away the attempts at a task that has its receipt, the first one first."""
        for one in sorted(attempts, key=lambda one: one.number):
            self._files.remove(f"{one.key}.{one.number}")

    def _seen_as(self, name: str, content: bytes) -> Attempt:
        """What a file is to us now: silent if it is what it was a lease ago."""
        now = self._clock()
        before = self._seen.get(name)
        since = before[1] if before is not None and before[0] == content else now
        self._seen[name] = (content, since)
        try:
            document = json.loads(content)
            about, ended = dict(document["about"]), document["ended"]
            lease_s = max(self._lease_s, float(about.get("lease_s", 0)))
        except (ValueError, LookupError, TypeError):  # cut short as it was made, or torn as it was written
            about, ended, lease_s = {}, None, self._lease_s
        key, _, number = name.partition(".")
        return Attempt(key, int(number), about, ended, now - since >= lease_s, content)


def _content(claim: Claim, ended: str | None = None) -> bytes:
    """What stands in the file: always of one size."""
    cause = None if ended is None else ended.encode("ascii", "backslashreplace").decode()[:LONGEST_CAUSE]
    document = {"about": dict(claim.about), "token": claim.token, "beats": claim.beats, "ended": cause}
    text = json.dumps(document).encode()
    assert len(text) < SIZE, "what is said of a claim is short"
    return text.ljust(SIZE - 1) + b"\n"
