"""Hooks for an HTTP client that check every response as it arrives: origin, speed, size, and SHA-256.

huggingface_hub downloads with a client that has these hooks. A body that is received complete, in one piece and not
encoded is hashed on the way, so that the file need not be read again to check it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2

from llorch.sources.errors import Damaged, Unreachable
from llorch.sources.select.reference import LOOPBACK

RETRY_STATUSES = (429, 503)
LONGEST_WAIT_S = 300  # a server that asks for a longer wait is an error
MOST_ANSWER = 256 << 20  # most bytes of a body of unknown size, which could be endless


@dataclass(frozen=True, slots=True)
class Patience:
    """The slowest acceptable download: at least `least_bytes` in `window_s` seconds, or it is aborted."""

    window_s: float = 60.0
    least_bytes: int = 64 << 10


class Witness:
    """Hashes one file as it is received, if it comes in one piece. size: the promised one."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size
        self._hash = hashlib.sha256()
        self._count = 0
        self._whole = True

    def begin(self, response: httpx2.Response) -> None:
        """Start a body: only a complete, unencoded one is hashed, since others differ from the file on the disk."""
        if response.status_code != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
            self._whole = False
            return
        self._whole = self._count == 0
        self._hash, self._count = hashlib.sha256(), 0

    def see(self, chunk: bytes) -> None:
        """Hash the next chunk."""
        if self._whole:
            self._hash.update(chunk)
            self._count += len(chunk)

    def digest(self, size: int) -> str | None:
        """Return the SHA-256 of the file, `size` bytes long; None if not exactly these bytes were hashed."""
        return self._hash.hexdigest() if self._whole and self._count == size else None


class Listener:
    """Hooks for an httpx2 client; `source` is the name for errors.

    trusted: a URL with the scheme, host and port that the user chose; others must be https, or this machine.
    """

    def __init__(self, source: str, trusted: str, patience: Patience | None = None) -> None:
        self._source = source
        self._trusted = _origin(httpx2.URL(trusted))
        self._patience = patience or Patience()
        self._witness: Witness | None = None

    @contextmanager
    def watching(self, size: int | None) -> Iterator[Witness]:
        """Within the `with` block, treat bodies as those of one file of at most `size` bytes; yields its hash."""
        self._witness = Witness(size)
        try:
            yield self._witness
        finally:
            self._witness = None

    def asked(self, request: httpx2.Request) -> None:
        """Request hook, also for redirects: refuse a plain http connection that the user did not choose."""
        url = request.url
        if url.scheme == "http" and not LOOPBACK.fullmatch(url.host) and _origin(url) != self._trusted:
            what = f"it sends on to http://{url.host}, over a connection that anybody can change"
            raise Unreachable(self._source, what, hint="nothing was fetched from there")

    def answered(self, response: httpx2.Response) -> None:
        """Response hook, before the body: refuse a very long Retry-After, and wrap the body of a download."""
        wait = response.headers.get("Retry-After", "")
        if response.status_code in RETRY_STATUSES and wait.isdigit() and int(wait) > LONGEST_WAIT_S:
            what = (
                f"{response.request.url.host} answers {response.status_code} and asks to wait {int(wait)} s"
            )
            raise Unreachable(self._source, what, hint="try again then")
        if response.request.method != "GET" or response.status_code not in (200, 206):
            return
        assert isinstance(response.stream, httpx2.SyncByteStream), "the client is a synchronous one"
        witness = self._witness
        if witness is not None:
            witness.begin(response)
        response.stream = _Heard(response.stream, self._counter(witness))

    def _counter(self, witness: Witness | None) -> Callable[[bytes], None]:
        """Return a function that checks size and speed at each chunk, and passes it to the witness."""
        since, count, total = time.monotonic(), 0, 0
        most = MOST_ANSWER if witness is None or witness.size is None else witness.size

        def take(chunk: bytes) -> None:
            nonlocal since, count, total
            count, total = count + len(chunk), total + len(chunk)
            if total > most and (witness is None or witness.size is not None):
                raise Damaged(self._source, f"more bytes come than the {most:,} there should be")
            now = time.monotonic()
            if now - since > self._patience.window_s:
                if count < self._patience.least_bytes:
                    what = f"only {count:,} bytes came in {now - since:.0f} s"
                    raise Unreachable(
                        self._source, what, hint="the connection is too slow to go on; try again later"
                    )
                since, count = now, 0
            if witness is not None:
                witness.see(chunk)

        return take


class _Heard(httpx2.SyncByteStream):
    """A response body that passes each chunk to `take`."""

    def __init__(self, stream: httpx2.SyncByteStream, take: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._take = take

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._take(chunk)
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
