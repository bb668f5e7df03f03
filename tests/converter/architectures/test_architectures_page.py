"""docs/architectures.md says what the tables say; `make docs` writes it anew."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from llorch.converter.architectures import architectures
from llorch.converter.schema.architecture import Architecture
from llorch.converter.schema.not_yet import KINDS, PARTLY, TYPES

PAGE = Path(__file__).parents[3] / "docs" / "architectures.md"

HEAD = """# Architectures

Every file in `converter/architectures/`, as its tables have it. A GGUF's `general.architecture` picks the row; where
several rows share a name, the condition decides. How to add one: [add-an-architecture.md](add-an-architecture.md).

| GGUF | class of transformers | condition | operations | tensors that may be missing | rotary embedding |
| --- | --- | --- | --- | --- | --- |
"""

ASSUMED = """
## Where llama.cpp computes something else

The folder is the original's. A comparison with llama.cpp differs by these, on tiny random models (96 tokens,
KL divergence and the largest difference of log-probabilities), and by nothing else.

| GGUF | what llama.cpp does | KL | largest |
| --- | --- | --- | --- |
| gpt-oss | rounds yarn's two dimensions; the original does not (`truncate: false`) | 1e-2 | 2e0 |
| exaone4 | uses the window, and leaves the other layers unrotated, only with 64 layers | 2e-1 | 4e0 |
| mistral4 | has no temperature, which its converter does not write | 8e-4 | 8e-1 |
| gemma3n | divides the variance of a layer's gates by N − 1, not by N; and as gemma4 | 7e-5 | 1e-1 |
| gemma4 | takes GELU from a table of half-precision values | 5e-7 | 9e-3 |
| mellum | rotates the layers with a window by the others' base, here 50000 for 9000 | 4e-1 | 8 |
| phimoe | weighs experts by a softmax over all, not by a sparse mixer, and grows angles by another number | 2 | 1e1 |
| minicpm3 | norms latent vectors with the ε of the other norms, 1e-5; the original has 1e-6 there | 3e-11 | 1e-4 |
| falcon | takes GELU's tanh form from that table, where the original has the error function | 5e-8 | 5e-5 |

gptneox and mpt have the error function in the original too; no file of llama.cpp's own converter is here to measure
them by. llama4's chunks of 8192 positions and its queries' growth beyond them are the same on both sides, and are
reached by no file here.

## Not yet

Refused in one line that says what they are. Any other name is refused by it, with the list of those that are known.

| `general.architecture` or `general.type` | what it is |
| --- | --- |
"""

NOT_CARRIED = """
## What GGUF does not carry

Written into `config.json` all the same, and listed under `assumed` in `conversion.json`. Keys of the second column
follow from a rule that llama.cpp has built in for the architecture; those of the third are constants.

| class of transformers | by rule | constants |
| --- | --- | --- |
"""


def rendered() -> str:
    rows = sorted(architectures(), key=lambda a: (a.gguf, a.when is not None, a.class_name))
    return "".join(
        [HEAD, *map(row, rows), ASSUMED, *map(refused, refusals()), NOT_CARRIED, *map(assumed, rows)]
    )


def refusals() -> list[tuple[str, str]]:
    """Names, and what files of them are."""
    kinds = [(", ".join(kind.names), kind.what) for kind in KINDS]
    partly = list(PARTLY.items())
    return [*kinds, *partly, *((f"{name} (type)", what) for name, what in TYPES.items())]


def refused(names_and_what: tuple[str, str]) -> str:
    return f"| {' | '.join(names_and_what)} |\n"


def row(architecture: Architecture) -> str:
    rules = architecture.tensors
    operations = sorted({rule.operation.name for rule in rules if rule.operation is not None})
    flags = list(dict.fromkeys(rule.flag.removeprefix("not_") for rule in rules if rule.flag))
    optional = [rule.source for rule in rules if rule.absent]
    cells = [
        architecture.gguf,
        architecture.class_name,
        (inspect.getdoc(architecture.when) or "").split("\n")[0] if architecture.when is not None else "",
        ", ".join(operations),
        ", ".join([*optional, *(f"those of {flag}" for flag in flags)]),
        architecture.rope.value,
    ]
    return f"| {' | '.join(cells)} |\n"


def assumed(architecture: Architecture) -> str:
    constants = ", ".join(f"{key} {value}" for key, value in sorted(architecture.assumed.items()))
    return f"| {architecture.class_name} ({architecture.gguf}) | {', '.join(architecture.derived)} | {constants} |\n"


def test_the_page_says_what_the_tables_say() -> None:
    assert PAGE.read_text() == rendered()


if __name__ == "__main__":
    sys.exit(PAGE.write_text(rendered()) == 0)
