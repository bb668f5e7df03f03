"""The keys under an architecture's prefix, with typed getters that record which keys were used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.gguf import REQUIRED, Metadata, Required, ValueType

D = TypeVar("D")

# Keys that may be an array with an entry per layer. Source: llama.cpp, src/llama-model.cpp and src/models/,
# `get_key_or_arr`; it refuses an array for every other key.
PER_LAYER = frozenset(
    {"attention.head_count", "attention.head_count_kv", "feed_forward_length", "expert_feed_forward_length"}
)


class Keys:
    """Metadata under a prefix such as `llama`: `integer("block_count")` reads `llama.block_count`.

    Every getter raises MalformedInput, which names the key, for a missing key without a default and a value of
    another type. used: the full names of all keys that were read.
    """

    def __init__(self, metadata: Metadata, prefix: str) -> None:
        self.metadata = metadata
        self.prefix = prefix
        self.used: set[str] = set()

    def name(self, key: str) -> str:
        """Return the full name of a key."""
        return f"{self.prefix}.{key}"

    def has(self, key: str) -> bool:
        """Return whether the key is present."""
        return self.name(key) in self.metadata

    def _use(self, key: str) -> str:
        name = self.name(key)
        self.used.add(name)
        return name

    def integer(self, key: str, default: D | Required = REQUIRED) -> int | D:
        """Return an integer; for a key that may differ by layer, an array of equal integers counts as one."""
        name = self._use(key)
        value = self.metadata.get(name)
        if value is None or value.type is not ValueType.ARRAY or key not in PER_LAYER:
            return self.metadata.integer(name, default)
        array = self.metadata.integers(name)
        layers = self.metadata.integer(self.name("block_count"))
        if len(array) != layers:
            raise self.wrong(key, f"has {len(array)} entries for {layers} layers")
        values = set(array.tolist())
        if len(values) != 1:
            raise UnsupportedInput("differs between layers", where=f"key {printable(name)}")
        return int(values.pop())

    def by_layer(self, key: str, default: int | None) -> list[int]:
        """Return an integer for every layer, prediction layers included: an array's entries, or one value for all.

        Empty if there is neither the key nor a default. MalformedInput for a negative one.
        """
        name = self._use(key)
        value = self.metadata.get(name)
        layers = self.metadata.integer(self.name("block_count"))
        if value is None or value.type is not ValueType.ARRAY:
            one = self.metadata.integer(name, default)
            found = [] if one is None else [one] * layers
        else:
            found = self.metadata.integers(name).tolist()
            if len(found) != layers:
                raise self.wrong(key, f"has {len(found)} entries for {layers} layers")
        if any(entry < 0 for entry in found):
            raise self.wrong(key, f"has {min(found)}, below 0")
        return found

    def count(self, key: str, default: D | Required = REQUIRED) -> int | D:
        """Return a positive integer below 2^31."""
        count = self.integer(key, default)
        if isinstance(count, int) and self.has(key) and not 0 < count < 1 << 31:
            raise self.wrong(key, f"is {count}, not a positive number below 2^31")
        return count

    def decimal(self, key: str, default: D | Required = REQUIRED) -> float | D:
        """Return a finite number, as the shortest decimal of its float32."""
        return self.metadata.decimal(self._use(key), default)

    def positive(self, key: str, default: D | Required = REQUIRED) -> float | D:
        """Return a finite number above zero, as `decimal` does."""
        number = self.decimal(key, default)
        if isinstance(number, float) and number <= 0:
            raise self.wrong(key, f"is {number}, not above zero")
        return number

    def flag(self, key: str, default: D | Required = REQUIRED) -> bool | D:
        """Return a bool."""
        return self.metadata.flag(self._use(key), default)

    def text(self, key: str, default: D | Required = REQUIRED) -> str | D:
        """Return a string."""
        return self.metadata.text(self._use(key), default)

    def flags(self, key: str) -> list[bool]:
        """Return an array of bools (or of integers, zero meaning false)."""
        return [bool(v) for v in self.metadata.integers(self._use(key)).tolist()]

    def integers(self, key: str, default: D | Required = REQUIRED) -> list[int] | D:
        """Return an array of integers."""
        found = self.metadata.integers(self._use(key), None if default is not REQUIRED else REQUIRED)
        return default if found is None else found.tolist()  # type: ignore[return-value]  # None only with a default

    def wrong(self, key: str, what: str) -> MalformedInput:
        """Return the error for a key with an impossible value."""
        value = self.metadata.get(self.name(key))
        return MalformedInput(
            what, where=f"key {printable(self.name(key))}", offset=value.offset if value is not None else None
        )

    def unused(self, more_used: Iterable[str]) -> tuple[list[str], list[str]]:
        """Return the keys that nobody read: those under the prefix, and all others."""
        used = self.used | set(more_used)
        left = [key for key in self.metadata if key not in used]
        own = [key for key in left if key.startswith(f"{self.prefix}.")]
        return own, [key for key in left if not key.startswith(f"{self.prefix}.")]
