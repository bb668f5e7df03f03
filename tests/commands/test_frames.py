"""The screens at 80 and 140 columns, stored as text; `python -m tests.commands.test_frames` writes them.

A pseudo-terminal and an emulator make the frames, so that colours, widths and what a progress bar leaves are a
terminal's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands.terminal import frame
from tests.models.tiny import random_llama

FRAMES = Path(__file__).parent / "frames"
WIDTHS = (80, 140)
PLACE = "/tmp/llorch-"  # a temporary folder's beginning
NAMES = ("convert", "verify-failed", "list", "show", "diff", "lineage")


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder whose path has a fixed length, since lines wrap by it."""
    folder, _, prefix = PLACE.rpartition("/")
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder) as made:
        yield Path(made)


def shown_at(columns: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Run a newcomer's first commands in an empty folder; return each frame's name and text."""

    def see(module: str, *words: str) -> str:
        text = frame(module, words, columns, folder)
        return text.replace(os.fspath(folder), f"{PLACE}{'0' * 8}")

    random_llama().write(folder / "Tiny.Q4.gguf")
    yield "convert", see("convert", "Tiny.Q4.gguf", "-o", "tiny")
    see("convert", "Tiny.Q4.gguf", "-o", "tiny-bf16", "--dtype", "bfloat16", "--verify", "none")
    yield "list", see("registry", "list")
    yield "show", see("registry", "show", "tiny")
    yield "diff", see("registry", "diff", "tiny", "tiny-bf16")
    yield "lineage", see("registry", "lineage", "tiny")
    weights = folder / "tiny" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 0x40
    weights.write_bytes(content)
    yield "verify-failed", see("verify", "tiny")


@pytest.mark.parametrize("columns", WIDTHS)
def test_what_a_person_sees_is_what_is_kept(
    columns: int,
) -> None:
    with place() as folder:
        found = dict(shown_at(columns, folder))
    assert sorted(found) == sorted(NAMES)
    for name, text in found.items():
        assert text == (FRAMES / f"{name}-{columns}.txt").read_text(), (
            "`python -m tests.commands.test_frames` writes it anew"
        )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_kept_is_no_wider_than_its_terminal_and_digests_are_references(name: str) -> None:
    for columns in WIDTHS:
        text = re.sub("‹.*?›", "", (FRAMES / f"{name}-{columns}.txt").read_text())
        assert all(len(line) <= columns for line in text.splitlines()[1:])
        assert all(len(digits) >= 7 for digits in re.findall(r"(?:sha256|tree1|weights1):(d*)", text))


def main() -> None:
    for columns in WIDTHS:
        with place() as folder:
            for name, text in shown_at(columns, folder):
                (FRAMES / f"{name}-{columns}.txt").write_text(text)


if __name__ == "__main__":
    main()
