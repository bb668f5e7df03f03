"""A split set with a missing part: every command says which, in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.commands.llorch import main
from tests.commands.conftest import invoke
from tests.corpus.split import named, split_parts

MISSING = "part 2 of 3 is missing: 'm-00002-of-00003.gguf' is not there"


@pytest.fixture
def parts(alone: Path) -> list[str]:
    """The first and the last part of three."""
    files = named(split_parts(3))
    del files["m-00002-of-00003.gguf"]
    for name, content in files.items():
        Path(name).write_bytes(content)
    return list(files)


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(
    "words",
    [("convert",), ("run", "info"), ("run", "generate", "-p", "a"), ("verify",), ("fetch", "--adopt")],
)
def test_the_missing_part_is_named_once(words: tuple[str, ...], part: int, parts: list[str]) -> None:
    result = invoke(main, *words, parts[part])
    assert result.exit_code == 3
    assert result.stderr.endswith(f"-of-00003.gguf: {MISSING}\n")
    assert result.stderr.count("\n") == result.stderr.count(MISSING) == 1
    assert sorted(path.name for path in Path().iterdir() if not path.name.startswith("registry.db")) == parts


def test_a_scan_names_the_file_once(parts: list[str]) -> None:
    result = invoke(main, "scan", parts[0])
    assert result.stdout == f"unreadable-file\twarning\t{parts[0]}\t\t{MISSING}\n"
