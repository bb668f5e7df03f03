"""docs/runtime.md says which architectures the code knows, and its limits; `make docs` writes the former."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from llorch.runtime.from_folder.families import FAMILIES as FOLDER_FAMILIES
from llorch.runtime.from_gguf.families import FAMILIES as GGUF_FAMILIES
from llorch.runtime.memory import DEQUANTIZED_BYTES, PREFILL_CHUNK, TILE_BYTES

PAGE = Path(__file__).parents[2] / "docs" / "runtime.md"
REMARKS = {"llama": "llama (Mistral and Mixtral too)"}


def rendered(page: str) -> str:
    for reading, names in (("from_gguf", GGUF_FAMILIES), ("from_folder", FOLDER_FAMILIES)):
        page = re.sub(rf"Known to `{reading}`: [^.]*\.", known(reading, names), page)
    return page


def known(reading: str, names: Iterable[str]) -> str:
    remarks = REMARKS if reading == "from_gguf" else {}
    text = f"Known to `{reading}`: {', '.join(remarks.get(name, name) for name in sorted(names))}."
    return textwrap.fill(text, 120, break_on_hyphens=False)


def test_the_architectures_are_those_of_the_code() -> None:
    assert PAGE.read_text() == rendered(PAGE.read_text())


def test_the_limits_are_those_of_the_code() -> None:
    page = PAGE.read_text()
    assert f"at most {DEQUANTIZED_BYTES >> 30} GiB in float32" in page
    assert f"tiles of {TILE_BYTES >> 20} MiB" in page
    assert f"chunks of {PREFILL_CHUNK} tokens" in page


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text()))
    sys.stdout.write(f"{PAGE.name} written\n")
