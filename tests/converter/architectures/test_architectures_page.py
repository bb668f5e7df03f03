"""docs/architectures.md agrees with the tables; `make docs` regenerates it."""

from __future__ import annotations

import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from llorch.converter.architectures import architectures
from llorch.converter.schema.architecture import Architecture
from llorch.converter.schema.not_yet import KINDS, PARTLY, TYPES

PAGE = Path(__file__).parents[3] / "docs" / "architectures.md"
RECEIPT = PAGE.parent / "receipts" / "llama-cpp.json"
ROUNDING = 3e-4  # of a logarithm; a state of random weights amplifies it

GELU = "takes GELU, in the tanh form, from a table of half-precision values"
GELU_FOR_ERF = (
    "takes GELU's tanh form from a table of half-precision values, where the original has the error function"
)
NO_WINDOW = "does not know the window that the file says"
DELTA_NET = "norms the delta net's queries and keys with the layers' epsilon, where the original has 1e-6"
DOES: dict[str, str] = {
    "baichuan": "rotates with 32 layers, has alibi with 40, and neither with any other number",
    "bloom": GELU,
    "codeshell": GELU,
    "exaone4": "uses the window, and leaves the other layers unrotated, only with 64 layers",
    "falcon": GELU_FOR_ERF,
    "gemma": GELU,
    "gemma2": GELU,
    "gemma3": GELU,
    "gemma3n": "divides the variance of a layer's gates by N − 1, not by N; and as gemma4",
    "gemma4": GELU,
    "gpt-oss": "rounds yarn's two dimensions; the original does not (`truncate: false`)",
    "gpt2": GELU,
    "gptneox": GELU_FOR_ERF,
    "hunyuan_vl": "does not turn the pairs of a text's fourth section",
    "llama": f"{NO_WINDOW} (Mistral 7B of 2023)",
    "mellum": "rotates the layers with a window by the other layers' base",
    "minicpm": "where the file has no `logit_scale`, divides by the number that the original multiplies with",
    "mistral4": "has no temperature, which its converter does not write",
    "mpt": GELU_FOR_ERF,
    "nemotron_h_moe": "has no least step of the state space, which transformers' class has: 0.001",
    "phi2": GELU,
    "phimoe": "weighs experts by a softmax over all, not by a sparse mixer, and grows angles by another number",
    "phi3": f"{NO_WINDOW}; it is switched off",
    "qwen2vl": "differs from the first position on; by what was not found",
    "qwen35": DELTA_NET,
    "qwen35moe": DELTA_NET,
    "qwen3next": DELTA_NET,
    "starcoder": GELU,
    "starcoder2": GELU,
}
# What llama.cpp requires of files that no tiny model here has.
DEMANDS: dict[str, str] = {
    "dots1": "as many heads of keys as of queries",
    "ernie4_5-moe": "a mixture in every layer from the first on",
}

HEAD = """# Architectures

Every architecture, from the tables in `converter/architectures/`. A GGUF's `general.architecture` picks the row; where
several rows share a name, the condition decides. How to add one: [add-an-architecture.md](add-an-architecture.md).

| GGUF | class of transformers | condition | operations | tensors that may be missing | rotary embedding |
| --- | --- | --- | --- | --- | --- |
"""

DIFFERENCES = f"""
## Where llama.cpp computes something else

The folder computes the same as the original. Its differences from llama.cpp are only these: measured on tiny random
models, both in float32, over 96 positions (`python -m benchmarks.llama_cpp_differences`), for each architecture the
model that differs most; the mean KL divergence from transformers' distribution, and the largest difference of a
log-probability. Below {ROUNDING:g} a difference is rounding.

| GGUF | what llama.cpp does | KL | largest |
| --- | --- | --- | --- |
"""

NOT_YET = """
## Not yet

Refused with one line that says what they are. For any other unknown name, the error gives it and lists the known ones.

| `general.architecture` or `general.type` | what it is |
| --- | --- |
"""

NOT_CARRIED = """
## What GGUF does not carry

Written into `config.json` nevertheless, and listed under `assumed` in `conversion.json`. Keys of the second column
follow from a rule that llama.cpp has built in for the architecture; those of the third are constants.

| class of transformers | by rule | constants |
| --- | --- | --- |
"""


def rendered() -> str:
    rows = sorted(architectures(), key=lambda a: (a.gguf, a.when is not None, a.class_name))
    return "".join(
        [
            HEAD, *map(row, rows), DIFFERENCES, *differences(), NOT_YET, *map(refused, refusals()), NOT_CARRIED,
            *map(assumed, rows),
        ]
    )  # fmt: skip


def measured() -> tuple[dict[str, dict[str, str]], set[str]]:
    """For each architecture, the model that differs most from llama.cpp, and the ones that llama.cpp cannot run."""
    models = json.loads(RECEIPT.read_text())["models"].values()
    run = sorted((one for one in models if "kl" in one), key=lambda one: float(one["largest"]))
    refused = {one["architecture"] for one in models} - {one["architecture"] for one in run}
    return {one["architecture"]: one for one in run}, refused


def differences() -> Iterator[str]:
    most, refused = measured()
    for name, found in sorted(most.items(), key=lambda item: -float(item[1]["largest"])):
        if float(found["largest"]) >= ROUNDING:
            yield f"| {name} | {DOES[name]} | {found['kl']} | {found['largest']} |\n"
    same = [name for name, found in sorted(most.items()) if float(found["largest"]) < ROUNDING]
    yield (
        "\n"
        + textwrap.fill(f"The same except for rounding: {', '.join(same)}.", 120, break_on_hyphens=False)
        + "\n"
    )
    demanded = "; ".join(f"{name} {DEMANDS[name]}" for name in sorted(refused))
    yield (
        textwrap.fill(
            f"Not measured, because llama.cpp requires what the tiny models here lack: {demanded}. llama4's chunks of "
            "8192 positions, and its queries' growth beyond them, are the same on both sides; no file is so long.",
            120,
            break_on_hyphens=False,
        )
        + "\n"
    )


def refusals() -> list[tuple[str, str]]:
    """Names that are refused, and what their files are."""
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


def test_every_difference_from_llama_cpp_is_explained() -> None:
    most, refused = measured()
    differ = {name for name, found in most.items() if float(found["largest"]) >= ROUNDING}
    assert differ == DOES.keys()
    assert refused == DEMANDS.keys()
    assert most.keys() | refused == {one.gguf for one in architectures()}


def test_the_page_says_what_the_tables_say() -> None:
    assert PAGE.read_text() == rendered()


if __name__ == "__main__":
    sys.exit(PAGE.write_text(rendered()) == 0)
