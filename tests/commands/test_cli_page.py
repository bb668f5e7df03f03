"""docs/cli.md is generated from --help and the tables; `python -m tests.commands.test_cli_page` writes it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from llorch.commands import llorch, matrix, run, scan, sign, verify, verify_signature
from llorch.commands.batch import command as batch
from llorch.commands.cli.exit_codes import EXIT_CODES
from llorch.commands.convert import command as convert
from llorch.commands.fetch import command as fetch
from llorch.commands.registry import command as registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"

COMMANDS = {
    "llorch": llorch.main,
    "llorch-batch": batch.main,
    "llorch-fetch": fetch.main,
    "llorch-convert": convert.main,
    "llorch-scan": scan.main,
    "llorch-sign": sign.main,
    "llorch-verify": verify.main,
    "llorch-verify-signature": verify_signature.main,
    "llorch-run": run.main,
    "llorch-registry": registry.main,
}

HEAD = """# The commands

Results go to stdout, everything else to stderr: progress (where stderr is a terminal), warnings, and on failure exactly
one line, `COMMAND: FILE: what is wrong`. With `--json` stdout is one document, for an error too:
`{"error": {"reason", "message", "exit_code"}}`, whose `reason` is a stable identifier. Tables fit the terminal; where
stdout is not a terminal, they are full values separated by tabs, without a header. PASSED, WARNED and FAILED are
coloured on a terminal, with `FORCE_COLOR` everywhere, with `NO_COLOR` nowhere. `--debug` shows the traceback of an
error before its line.

## Exit codes

When several apply, the exit code is the first of 2, 3, 6, 5, 4, 1, 7.

| code | meaning |
| --- | --- |
"""

REGISTRY = """
## Where the registry is

`--registry`, a path or a SQLAlchemy URL; else `LLORCH_REGISTRY`; else `./registry.db` if it exists; else
`registry.db` in the platform's data folder, or for a user without a home folder in the current one. `llorch-registry
path` says which, and why. A registry that cannot be used never fails a conversion: the folder is kept, and
`llorch-registry adopt FOLDER` records it by its `conversion.json`.
"""


def pages(name: str, command: click.Command) -> Iterator[tuple[str, click.Command, str]]:
    """Yield a command and its subcommands: the name to type, the command, the --help page."""
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
    context.help_option_names = ["-h", "--help"]
    yield name, command, command.get_help(context)
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            inner = click.Context(sub, parent=context, info_name=sub.name)
            yield f"{name} {sub.name}", sub, sub.get_help(inner)


def all_pages() -> list[tuple[str, click.Command, str]]:
    below = {"llorch-verify matrix": matrix.matrix}  # `verify` looks for the word itself
    return [page for name, command in (COMMANDS | below).items() for page in pages(name, command)]


def rendered() -> str:
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    sections = "".join(f"\n## {name}\n\n```\n{page.rstrip()}\n```\n" for name, _, page in all_pages())
    return HEAD + codes + REGISTRY + sections


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text() == rendered(), "`make docs` writes it anew"


def test_every_installed_command_is_on_the_page() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    places = {name: place.split(":") for name, place in scripts.items()}
    found = {name: getattr(importlib.import_module(module), main) for name, (module, main) in places.items()}
    assert found == COMMANDS


@pytest.mark.parametrize(("name", "command", "page"), all_pages(), ids=[name for name, _, _ in all_pages()])
def test_every_help_page_says_what_it_does_every_option_and_an_example(
    name: str, command: click.Command, page: str
) -> None:
    assert command.help
    assert f"Example:\n    {name.split()[0]} " in page
    assert "--json" in page or isinstance(command, click.Group) or name == "llorch completion"  # a script
    assert all(option.help for option in command.params if isinstance(option, click.Option))


def groups() -> list[str]:
    return [name for name, command, _ in all_pages() if isinstance(command, click.Group)]


@pytest.mark.parametrize("name", groups())
def test_no_line_about_a_subcommand_is_cut_at_80_columns(name: str) -> None:
    context = click.Context(COMMANDS[name], info_name=name, terminal_width=80, max_content_width=100)
    lines = COMMANDS[name].get_help(context).partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert len(lines) >= 4
    assert [line for line in lines if line.endswith("...") or not line.endswith(".")] == []


@pytest.mark.parametrize("module", ["batch", "convert", "verify", "run", "registry"])
def test_help_waits_for_nothing_that_takes_long_to_import(module: str) -> None:
    script = f"""
import sys
sys.argv = ["llorch", "--help"]
from llorch.commands.{module} import main
try:
    main()
finally:
    heavy = {{"torch", "numba", "numpy", "sqlalchemy", "tokenizers", "rich", "jinja2", "transformers"}}
    print(sorted(heavy & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    assert done.stderr == "[]\n"
    assert done.stdout.startswith("Usage: ")


def test_the_library_rooms_load_nothing_heavy_when_imported() -> None:
    script = """
import sys
from llorch import converter, fleet, formats, registry, runtime, verification
print(sorted({"torch", "numba", "sqlalchemy", "tokenizers", "transformers"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    assert done.stdout == "[]\n"


if __name__ == "__main__":
    PAGE.write_text(rendered())
