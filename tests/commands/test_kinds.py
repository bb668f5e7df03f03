"""convert, verify and run name alike what they were given, and accept a folder with one model."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.commands import run, verify
from llorch.commands.cli.declaration import GuardedCommand
from llorch.commands.convert import command as convert
from tests.commands.conftest import invoke
from tests.models.tiny import random_llama

COMMANDS: dict[str, tuple[GuardedCommand, list[str]]] = {
    "convert": (convert.main, []),
    "verify": (verify.main, []),
    "run info": (run.main, ["info"]),
    "run generate": (run.main, ["generate", "-p", "a"]),
    "run tokenize": (run.main, ["tokenize"]),
    "run serve": (run.main, ["serve"]),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("given", ["pointer.gguf", "folder", "owner/repo"])
def test_every_command_names_the_kind(alone: Path, command: str, given: str) -> None:
    (alone / "pointer.gguf").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64)
    for name in ("a.gguf", "b.gguf"):
        (alone / "folder").mkdir(exist_ok=True)
        random_llama(layers=1).write(alone / "folder" / name)
    main, words = COMMANDS[command]
    result = invoke(main, *words, given, *(["a"] if words == ["tokenize"] else []))
    told = {"pointer.gguf": "is a Git LFS pointer", "folder": "several GGUF models: a.gguf, b.gguf"}
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (3, "", 1)
    if command != "run serve" or given != "owner/repo":  # which asks the registry for names that are no file
        assert told.get(given, "llorch-fetch owner/repo") in result.stderr


def test_the_one_model_of_a_folder_is_converted_and_run(source: Path) -> None:
    (folder := Path("models")).mkdir()
    source.rename(folder / source.name)
    result = invoke(convert.main, folder, "--verify", "none")
    assert result.exit_code == 0, result.stderr
    assert Path("Tiny.Q4/model.safetensors").is_file()
    assert invoke(run.main, "info", folder).exit_code == 0
    again = invoke(convert.main, "Tiny.Q4")
    assert again.exit_code == 3
    assert "Tiny.Q4: is a folder of safetensors: it is converted already" in again.stderr


def test_an_empty_folder_is_nothing_to_verify(alone: Path) -> None:
    (alone / "empty").mkdir()
    result = invoke(verify.main, "empty")
    assert result.exit_code == 3
    assert "empty: is a folder without a file" in result.stderr
