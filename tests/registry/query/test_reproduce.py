"""`llorch-registry reproduce`: a tiny model is converted again, from any place that still has its source."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llorch import converter
from llorch.base.version import __version__
from llorch.commands.registry import command as registry_command
from tests.models.tiny import random_llama

Call = Callable[..., Result]


@pytest.fixture
def call(registry_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command on the registry, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLORCH_REGISTRY", registry_url)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return lambda *words: CliRunner().invoke(registry_command.main, list(map(str, words)))


def adopted(call: Call, **told_otherwise: Any) -> str:
    """Convert a model and record it, with some keys of its conversion.json changed; return the run's id."""
    converter.convert(random_llama().write(Path("tiny.gguf")), "out", dtype="float16")
    record = Path("out/conversion.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), **told_otherwise}))
    result = call("adopt", "out")
    assert result.exit_code == 0, result.output
    [run] = json.loads(call("history", "--json").stdout)["runs"]
    return str(run["uid"])


def tree() -> str:
    return str(json.loads(Path("out/conversion.json").read_text())["tree"])


def test_the_same_file_gives_the_same_weights_and_the_same_tree(call: Call) -> None:
    run = adopted(call)
    result = call("reproduce", run)
    assert (result.exit_code, result.stdout) == (0, f"reproduced weights and tree  ({tree()[:18]})\n")
    assert result.stderr == ""
    assert sorted(path.name for path in Path.cwd().iterdir() if path.suffix != ".db") == ["out", "tiny.gguf"]


def test_a_source_that_was_moved_is_taken_from_where_it_was_seen_before(call: Call) -> None:
    run = adopted(call)
    converter.convert(Path("tiny.gguf").rename("moved.gguf"), "again", dtype="float16")
    assert call("adopt", "again").exit_code == 0
    Path("tiny.gguf").write_bytes(b"another")
    document = json.loads(call("reproduce", run, "--json").stdout)
    assert document["path"] == str(Path("moved.gguf").absolute())
    assert document["made"]["tree"] == document["tree"] == tree()


def test_a_source_that_was_changed_meanwhile_is_refused_by_its_digest(call: Call) -> None:
    run = adopted(call)
    source = Path("tiny.gguf").absolute()
    content = bytearray(source.read_bytes())
    content[-1] ^= 1
    source.write_bytes(content)
    before = json.loads(Path("out/conversion.json").read_text())["sources"][0]["sha256"]
    result = call("reproduce", run)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        f"llorch-registry: run {run} was made of sha256:{before}, and '{source}' is another file now\n"
    )
    source.unlink()
    result = call("reproduce", run, "--json")
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["reason"]) == (3, "changed")
    assert error["message"].endswith(f"'{source}' is gone")


def test_other_versions_of_the_tools_are_said(call: Call) -> None:
    run = adopted(call, tools={"llorch": "0.0.1", "python": platform.python_version()})
    result = call("reproduce", run)
    assert (result.exit_code, result.stdout) == (0, f"reproduced weights and tree  ({tree()[:18]})\n")
    assert f"llorch-registry: llorch is {__version__} here, was 0.0.1\n" in result.stderr
    assert ", was not there\n" in result.stderr
    assert "python is" not in result.stderr


def test_a_run_that_did_not_make_what_is_recorded_ends_with_1(call: Call) -> None:
    """The record gives other options than those of the conversion."""
    run = adopted(call, options={"dtype": "bfloat16", "max_shard_size": 5 * 10**9})
    result = call("reproduce", run)
    assert result.exit_code == 1
    assert result.stdout.startswith("reproduced nothing  (tree1:")


def test_a_conversion_that_fails_now_is_told_in_its_own_line(call: Call) -> None:
    run = adopted(call, options={"dtype": "bfloat16", "max_shard_size": 10**9, "strict": True})
    call_it = call("reproduce", run)
    assert call_it.exit_code == 1  # the model has no warnings, so strict is no reason to fail
    random = random_llama().drop("tokenizer.ggml.pre").write(Path("warns.gguf"))
    converter.convert(random, "warned")
    record = Path("warned/conversion.json")
    document = json.loads(record.read_text())
    record.write_text(json.dumps({**document, "options": {**document["options"], "strict": True}}))
    assert call("adopt", "warned").exit_code == 0
    run = json.loads(call("history", "--json").stdout)["runs"][0]["uid"]
    result = call("reproduce", run)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith(f"llorch-registry: {Path('warns.gguf').absolute()}: ")
    assert result.stderr.count("\n") == 1
