"""A server's settings: limits, the model's identity, API keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on what clients can make the server hold or wait for.

    slots: requests computed at the same time. max_queue: most requests waiting. choices: answers per
    request. cache_bytes: caches of all running requests. body_s: seconds from a request's first byte to
    its last; head_s: for its headers alone. write_s: seconds that a client may stop reading before it is disconnected.
    """

    slots: int = 16
    max_queue: int = 64
    choices: int = 16
    cache_bytes: int = 4 << 30
    body_bytes: int = 4 << 20
    head_bytes: int = 32 << 10
    headers: int = 100
    connections: int = 512
    head_s: float = 10.0
    body_s: float = 30.0
    write_s: float = 30.0
    keep_alive_s: float = 15.0
    send_buffer_bytes: int = 256 << 10


@dataclass(frozen=True, slots=True)
class Card:
    """The identity of the served model.

    name: the model name for clients. created: seconds since 1970. digest: SHA-256 of the file, or of the folder's
    description, as `sha256:…`; None if unknown. verification: the result of its checks according to the registry or the
    folder, JSON; None if there is none. provenance: what it was made from and by what, JSON.
    """

    name: str
    created: int
    digest: str | None = None
    format: str = ""
    architecture: str = ""
    verification: Mapping[str, object] | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)


class Keys:
    """The accepted API keys; without any, everyone is admitted.

    Only digests are kept, so that no log or error message can reveal a key.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __repr__(self) -> str:
        return f"Keys({len(self._digests)})"

    def admits(self, key: str) -> bool:
        """Whether the key is accepted; it is compared with every one, each in constant time."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return not self._digests or any(found)


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a server. hosts: accepted names in the Host header; None is any, for a server with keys."""

    worker_id: str = ""
    callback_url: str | None = None
    keys: Keys = field(default_factory=Keys)
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"})
    limits: Limits = field(default_factory=Limits)
