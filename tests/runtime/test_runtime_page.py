"""docs/runtime.md says which architectures the code knows, and the limits that it has."""

from __future__ import annotations

import re
from pathlib import Path

from llorch.runtime.from_folder.families import FAMILIES as FOLDER_FAMILIES
from llorch.runtime.from_gguf.families import FAMILIES as GGUF_FAMILIES
from llorch.runtime.memory import DEQUANTIZED_BYTES, PREFILL_CHUNK, TILE_BYTES

PAGE = (Path(__file__).parents[2] / "docs" / "runtime.md").read_text()


def listed(reading: str) -> list[str]:
    found = re.search(rf"Known to `{reading}`: ([^.]*)\.", PAGE)
    assert found is not None
    return re.findall(r"[\w-]+", re.sub(r"\([^)]*\)", "", found[1]))


def test_the_architectures_are_those_of_the_code() -> None:
    assert listed("from_gguf") == sorted(GGUF_FAMILIES)
    assert listed("from_folder") == sorted(FOLDER_FAMILIES)


def test_the_limits_are_those_of_the_code() -> None:
    assert f"at most {DEQUANTIZED_BYTES >> 30} GiB in float32" in PAGE
    assert f"tiles of {TILE_BYTES >> 20} MiB" in PAGE
    assert f"chunks of {PREFILL_CHUNK} tokens" in PAGE
