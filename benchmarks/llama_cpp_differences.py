"""Compares llama.cpp with transformers: a tiny random model of every family, both in float32.

    python -m benchmarks.llama_cpp_differences [NAME …]     # by default the test data's families and every recipe

Models of the test data were written by llama.cpp's own converter, with transformers' logits stored beside them; those
of tests/models/families.py are built here. The result replaces the model's row in docs/receipts/llama-cpp.json, from
which the table in docs/architectures.md is made; for a model that llama.cpp doesn't run it has the reason.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.llama_cpp_logits import log_probabilities
from llorch.formats.gguf import read_header
from tests.families import FAMILIES, logits_of
from tests.models.families import FAMILY_RECIPES, build

ROOT = Path(__file__).parent.parent
RECEIPT = ROOT / "docs" / "receipts" / "llama-cpp.json"
DATA = Path(os.environ.get("LLORCH_TEST_DATA", ROOT.parent / "shared" / "data")) / "families"
POSITIONS = 96
LETTER = 36  # the id of a letter's token in every vocabulary here


@click.command()
@click.argument(
    "names", nargs=-1, type=click.Choice([*FAMILIES, *(f"recipe {name}" for name in FAMILY_RECIPES)])
)
def main(names: Sequence[str]) -> None:
    """Measure the models NAMES and print each row."""
    names = names or [*FAMILIES, *(f"recipe {name}" for name in FAMILY_RECIPES)]
    receipt = json.loads(RECEIPT.read_text()) if RECEIPT.is_file() else {"models": {}}
    for name in names:
        with tempfile.TemporaryDirectory() as scratch:
            receipt["models"][name] = row = measure(name, Path(scratch))
        click.echo(f"{name}: {row}")
        receipt["versions"] = {package: version(package) for package in ("transformers", "xllamacpp")}
        RECEIPT.write_text(json.dumps(receipt, indent=1, sort_keys=True) + "\n")


def measure(name: str, scratch: Path) -> dict[str, Any]:
    """Return a row: mean KL divergence from transformers, and the largest difference of log-probabilities."""
    recipe = name.removeprefix("recipe ")
    file, ids, logits = of_recipe(recipe, scratch) if recipe != name else of_test_data(name)
    header = read_header(file)
    row: dict[str, Any] = {"architecture": header.metadata.text("general.architecture")}
    tokens = logits.shape[1]
    try:
        found = log_probabilities(file, [ids[: n + 1] for n in range(len(ids))], tokens, LETTER)
    except RuntimeError as error:
        return {**row, "refused": str(error).removeprefix(f"llama.cpp does not run {file}: ")}
    expected = log_softmax(logits.astype(np.float64))
    kl = np.sum(np.exp(expected) * (expected - log_softmax(found.astype(np.float64))), axis=-1)
    return {**row, "kl": f"{kl.mean():.0e}", "largest": f"{np.abs(expected - found).max():.0e}"}


def of_test_data(name: str) -> tuple[Path, list[int], NDArray[np.float32]]:
    """Return a test-data model's file, the ids of its long prompt, and transformers' logits."""
    ids, logits = logits_of(DATA / name)[0]
    return DATA / name / "f32.gguf", ids[:POSITIONS].tolist(), logits[:POSITIONS]


def of_recipe(name: str, scratch: Path) -> tuple[Path, list[int], NDArray[np.float32]]:
    """Build a model and return its file, ids of a prompt, and transformers' logits."""
    import torch

    made = build(name, scratch)
    ids = torch.randint(1, 257, (1, POSITIONS), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        logits = made.model(ids, use_cache=False).logits[0].numpy()
    return made.gguf, ids[0].tolist(), logits


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log-softmax along the last dimension."""
    shifted: NDArray[np.float64] = logits - logits.max(axis=-1, keepdims=True)
    sums: NDArray[np.float64] = np.exp(shifted).sum(axis=-1, keepdims=True)
    return shifted - np.log(sums)


if __name__ == "__main__":
    main()
