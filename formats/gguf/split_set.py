"""Split sets, `NAME-00001-of-0000N.gguf`: the paths of all parts, and checks that they belong together.

The first part has the model's keys, the others only the three `split.` keys. A set can be read from any of its parts.
Source: llama.cpp, `llama_split_path` and src/llama-model-loader.cpp, which checks less.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf.metadata import Metadata, StringArray, Value

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"
OWN = frozenset({NUMBER, COUNT, TENSORS, "general.alignment"})  # keys that may differ between parts

_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def part_paths(path: Path, metadata: Metadata) -> list[Path]:
    """Return the paths of all parts of the set that `path` belongs to; `path` alone if it is not split."""
    count = metadata.integer(COUNT, 1)
    if count in (0, 1):
        return [path]
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise MalformedInput(
            f"is {count}, but the file's name does not end in -00001-of-{count:05}.gguf or alike",
            where=f"key '{COUNT}'",
            hint="the other parts are found by their names",
        )
    if int(found["count"]) != count:
        raise MalformedInput(
            f"is {count}, the file's name says {int(found['count'])}", where=f"key '{COUNT}'"
        )
    number = int(found["number"])
    if not 1 <= number <= count:
        raise MalformedInput(f"its name says part {number} of {count}")
    return [path.with_name(f"{found['prefix']}-{n:05}-of-{count:05}.gguf") for n in range(1, count + 1)]


def require_part(index: int, count: int, metadata: Metadata, first: Metadata) -> None:
    """Raise MalformedInput unless this is part `index` (from 0) of `count`, with keys that agree with the first's."""
    for key, expected in ((COUNT, count), (NUMBER, index), (TENSORS, first.integer(TENSORS))):
        if (found := metadata.integer(key)) != expected:
            raise MalformedInput(f"is {found} in part {index + 1}, not {expected}", where=f"key '{key}'")
    differing = [
        key for key in metadata if key not in OWN and not (key in first and _equal(metadata[key], first[key]))
    ]
    if differing:
        raise MalformedInput(
            f"part {index + 1} has {', '.join(map(printable, differing[:8]))} otherwise than the first part: it is of "
            f"another model",
        )


def require_all_tensors(first: Metadata, counts: Sequence[int]) -> None:
    """Raise MalformedInput unless the parts' tensor counts add up to the first part's `split.tensors.count`."""
    promised, found = first.integer(TENSORS), sum(counts)
    if promised != found:
        raise MalformedInput(f"is {promised}, the {len(counts)} parts hold {found}", where=f"key '{TENSORS}'")


def _equal(a: Value, b: Value) -> bool:
    """Return whether two values have the same type and bits."""
    if (a.type, a.element) != (b.type, b.element):
        return False
    if isinstance(a.data, StringArray) and isinstance(b.data, StringArray):
        return len(a.data) == len(b.data) and all(
            a.data.raw(index) == b.data.raw(index) for index in range(len(a.data))
        )
    return np.asarray(a.data).tobytes() == np.asarray(b.data).tobytes()
