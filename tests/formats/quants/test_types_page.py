"""docs/quant-types.md agrees with the table; `python -m tests.formats.quants.test_types_page` regenerates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from llorch.formats.quants import BY_ID, REMOVED, QuantType

PAGE = Path(__file__).parents[3] / "docs" / "quant-types.md"

HEAD = """# Quant types

Every type that a GGUF file can hold today is supported. The value of a weight w is the first line of its definition in
`formats/quants/`: computed in float32, bit for bit as in llama.cpp's C code, and then rounded once to nearest even for
writing.

| id | type | weights a block | bytes a block | bits a weight | a block's bytes in order | a weight w |
| --- | --- | --- | --- | --- | --- | --- |
"""


def rendered() -> str:
    rows = "".join(map(row, sorted(BY_ID.values(), key=lambda type: type.id)))
    removed = ", ".join(f"{name} ({id})" for id, name in sorted(REMOVED.items()))
    return f"{HEAD}{rows}\nllama.cpp removed {removed}: a file with one of them, or with another id, is refused.\n"


def row(type: QuantType) -> str:
    bits = 8 * type.block_bytes / type.weights
    formula = (type.decode.__doc__ or "").splitlines()[0]
    layout = ", ".join(field(name, type.layout[name]) for name in type.layout.names or ())
    return f"| {type.id} | {type} | {type.weights} | {type.block_bytes} | {bits:g} | {layout} | {formula} |\n"


def field(name: str, kind: np.dtype[Any]) -> str:
    return f"{name} {kind.base.str[1:]}" + "".join(f"[{count}]" for count in kind.shape)


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == rendered()


if __name__ == "__main__":
    PAGE.write_text(rendered(), encoding="utf-8")
