"""docs/tutorial.md: its commands run as they stand there, each ends well, and both formats say the same."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from llorch.commands.llorch import main
from tests.models.tiny import random_llama
from tools.site_links import absolute

DOCS = Path(__file__).parent.parent / "docs"


def test_the_tutorials_commands_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLORCH_REGISTRY", str(tmp_path / "registry.db"))
    random_llama().write(tmp_path / "model.gguf")
    lines = re.findall(r"^\$ llorch (.*)$", (DOCS / "tutorial.md").read_text(), re.MULTILINE)
    assert len(lines) >= 9
    said = {}
    for line in lines:
        result = CliRunner().invoke(main, shlex.split(line))
        assert result.exit_code == 0, f"{line}: {result.output}"
        said[line] = result.stdout
    texts = [text for line, text in said.items() if line.startswith("run generate")]
    assert texts[0] == texts[1] != ""
    assert "first" in said["registry list"]
    assert (tmp_path / "model.cdx.json").is_file()


def test_a_link_that_leaves_the_pages_leads_to_the_repository() -> None:
    page = "[a](../Makefile) [b](cli.md) [c](../registry#x) [d](decisions/0004-two-readings.md)"
    made = absolute(page, "architecture.md", "https://example.org/r")
    assert made == (
        "[a](https://example.org/r/blob/main/Makefile) [b](cli.md) [c](https://example.org/r/tree/main/registry#x) "
        "[d](decisions/0004-two-readings.md)"
    )
    assert absolute("[a](../cli.md)", "decisions/x.md", "https://example.org/r") == "[a](../cli.md)"
