"""The options of a conversion: one value that is passed, recorded and given its defaults in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypedDict

from llorch.converter.plan.dtype import TORCH_NAMES
from llorch.converter.plan.dtype_choice import AUTO

# Other tools' names for the dtypes.
DTYPE_ALIASES: Mapping[str, str] = {
    "bf16": "bfloat16",
    "fp16": "float16",
    "f16": "float16",
    "f32": "float32",
    "fp32": "float32",
}

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
_BINARY_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


class Choices(TypedDict, total=False):
    """The fields of ConvertOptions as keyword arguments."""

    dtype: str
    max_shard_size: int | str
    strict: bool
    allow_unknown: bool
    set: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """What determines a conversion's bytes, apart from its source.

    dtype: "auto", "float32", "float16" or "bfloat16", or a short name of one (bf16, fp16, f32); auto is the
    narrowest that loses nothing, and bfloat16 for a quantized source. max_shard_size: the most bytes of tensors in a
    file, also as "5GB" or "512MiB"; a tensor is never cut. strict: warnings are errors. allow_unknown: tensors and keys
    that the architecture does not know are left out with a warning instead of an error. set: keys of config.json that
    the file does not determine, and their values; a key that the file determines, or an unknown key, is an error.

    Raises ValueError for an invalid value.

    >>> ConvertOptions(dtype="bf16", max_shard_size="1GB")
    ConvertOptions(dtype='bfloat16', max_shard_size=1000000000, strict=False, allow_unknown=False, set={})
    """

    dtype: str = AUTO
    max_shard_size: int | str = 5 * 10**9
    strict: bool = False
    allow_unknown: bool = False
    set: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dtype = DTYPE_ALIASES.get(self.dtype, self.dtype)
        if dtype != AUTO and dtype not in TORCH_NAMES:
            raise ValueError(f"dtype is {self.dtype!r}, not one of {', '.join([AUTO, *TORCH_NAMES])}")
        object.__setattr__(self, "dtype", dtype)
        try:
            object.__setattr__(self, "max_shard_size", parse_size(self.max_shard_size))
        except ValueError as error:
            raise ValueError(f"max_shard_size: {error}") from None

    @property
    def shard_bytes(self) -> int:
        """max_shard_size in bytes."""
        return parse_size(self.max_shard_size)

    def to_json(self) -> dict[str, Any]:
        """Return the options as in conversion.json and the registry; `set` is left out if it is empty."""
        values = asdict(self)
        return values if self.set else {name: value for name, value in values.items() if name != "set"}


def parse_size(size: int | str) -> int:
    """Parse a number of bytes, at least one, with or without a unit: 5GB, 512MiB, 100000. Raises ValueError.

    >>> parse_size("512MiB")
    536870912
    """
    found = _SIZE.fullmatch(str(size).strip())
    unit = (_BINARY_UNITS if found[3] else _UNITS).get(found[2].lower()) if found else None
    if found is None or unit is None or (number := int(float(found[1]) * unit)) < 1:
        raise ValueError(f"{size!r} is no size; write it as 5GB, 512MiB or a number of bytes")
    return number
