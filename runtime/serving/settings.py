"""What a server is told when it is made: its bounds, its model's identity, who may ask."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what clients can make the server hold or wait for.

    slots: requests that are computed at the same time. max_queue: how many more may wait. choices: answers that one
    request may ask for. cache_bytes: keys and values of all running requests. body_s: from a request's first byte to
    its last; head_s: as long may its headers take. write_s: how long a client may not read before it is dropped.
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
    """Which model is served, for whoever wants to know.

    name: the one that clients call it by. created: seconds since 1970. digest: SHA-256 of the file, or of the folder's
    description, `sha256:…`; None where it is not known. verification: the outcome of its checks as the registry or
    the folder has it, JSON; None where there is none. provenance: what it was made from and by what, JSON.
    """

    name: str
    created: int
    digest: str | None = None
    format: str = ""
    architecture: str = ""
    verification: Mapping[str, object] | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)


class Keys:
    """The API keys that are let in; without any, everyone is.

    Only their digests are kept, so that no log and no error can show one.
    """

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __repr__(self) -> str:
        return f"Keys({len(self._digests)})"

    def admits(self, key: str) -> bool:
        """Whether it is one of them; all are compared, each in constant time."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return not self._digests or any(found)


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a server is told. hosts: names by which it may be addressed; None is any, for one that has keys."""

    worker_id: str = ""
    callback_url: str | None = None
    keys: Keys = field(default_factory=Keys)
    hosts: frozenset[str] | None = frozenset({"localhost", "127.0.0.1", "::1"})
    limits: Limits = field(default_factory=Limits)
