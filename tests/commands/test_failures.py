"""Errors of commands: the exit code of each kind, an identifier for scripts, one line without secrets."""

from __future__ import annotations

import errno
import importlib
import stat
from pathlib import Path

import click
import platformdirs
import pytest

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.commands.cli.exit_codes import EXIT_CODES, FAILURES, failure, one_line
from llorch.converter.errors import NotEnoughSpace, TargetBusy, TargetExists
from llorch.runtime.errors import ContextFull


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where bugs are logged, for this test."""
    monkeypatch.setattr(platformdirs, "user_log_dir", lambda *_, **__: str(tmp_path / "log"))
    return tmp_path / "log"


def of_the_system(number: int, name: str | None = "model.gguf") -> OSError:
    return OSError(number, "What The System Says", name)


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (click.UsageError("no such option"), 2, "usage"),
        (ContextFull(9000, 8192, "the prompt"), 2, "request"),
        (InputError("is odd"), 3, "malformed"),
        (MalformedInput("is cut short"), 3, "malformed"),
        (UnsupportedInput("is unknown"), 3, "unsupported"),
        (of_the_system(errno.ENOENT), 3, "missing"),
        (of_the_system(errno.EISDIR), 3, "missing"),
        (of_the_system(errno.ENOTDIR), 3, "missing"),
        (of_the_system(errno.ELOOP), 3, "missing"),
        (of_the_system(errno.ENAMETOOLONG), 3, "missing"),
        (of_the_system(errno.EACCES), 5, "io"),
        (of_the_system(errno.ENOSPC), 5, "io"),
        (of_the_system(errno.EIO), 5, "io"),
        (of_the_system(errno.EROFS), 5, "io"),
        (NotEnoughSpace("out", 10, 5), 5, "io"),
        (MemoryError(), 5, "memory"),
        (TargetExists("out"), 6, "exists"),
        (TargetBusy("out", " (pid 7)"), 6, "busy"),
        (KeyError("key"), 70, "bug"),
        (AssertionError(), 70, "bug"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_each_kind_of_error_has_its_exit_code_and_reason(error: Exception, code: int, reason: str) -> None:
    told = failure(error, "llorch-convert")
    assert (told.exit_code, told.reason) == (code, reason)
    assert code in EXIT_CODES
    assert told.to_json() == {"error": {"reason": reason, "message": told.message, "exit_code": code}}


def test_the_table_names_exceptions_that_exist() -> None:
    for dotted, code, _ in FAILURES:
        module, _, name = dotted.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), name), Exception)
        assert code in EXIT_CODES


def test_the_systems_errors_name_the_file_first_and_begin_in_lower_case() -> None:
    assert (
        failure(of_the_system(errno.EACCES), "llorch-convert").message == "model.gguf: what The System Says"
    )


def test_a_file_name_is_shown_escaped() -> None:
    told = failure(of_the_system(errno.EACCES, "a\n\x1b[2J.gguf"), "llorch-convert")
    assert told.message == r"a\n\x1b[2J.gguf: what The System Says"


@pytest.mark.parametrize(
    "error", [ValueError("two\nlines\x1b]0;x\x07"), MalformedInput("two\r\nlines"), MemoryError("a\nb")]
)
def test_whatever_an_error_says_comes_out_as_one_printable_line(error: Exception) -> None:
    message = failure(error, "llorch-convert").message
    assert message.isprintable()
    assert message


def test_a_bug_is_told_with_its_place_and_a_log_that_only_its_owner_reads(logs: Path) -> None:
    try:
        dict[str, int]()["missing"]
    except KeyError as error:
        told = failure(error, "llorch-convert", ["model.gguf"])
    (log,) = logs.iterdir()
    assert str(log) in told.message
    assert "KeyError at test_failures.py:" in told.message
    assert "Traceback (most recent call last)" in log.read_text()
    assert "model.gguf" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_bug_is_told_even_where_no_log_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_log_dir", lambda *_, **__: "/dev/null/log")
    told = failure(KeyError("key"), "llorch-convert")
    assert told.exit_code == 70
    assert "no log could be written" in told.message


SECRET = "postgresql://me:hunter2@host/db hf_abcdefghijklmnopqrstuvwxyz"


def test_passwords_and_tokens_are_in_no_line_and_no_log(logs: Path) -> None:
    told = failure(ValueError(SECRET), "llorch-convert", ["--registry", SECRET])
    (log,) = logs.iterdir()
    for text in (told.message, log.read_text(), one_line(SECRET)):
        assert "hunter2" not in text
        assert "hf_abc" not in text


def test_a_wrong_command_line_is_one_line_that_names_the_help_page() -> None:
    context = click.Context(click.Command("generate"), info_name="llorch-run generate")
    told = failure(click.UsageError("No such option: --x", context), "llorch-run")
    assert told.message == "No such option: --x (see llorch-run generate --help)"
