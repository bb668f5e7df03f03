"""Progress while work is running, in a pseudo-terminal, since it shows only there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.commands.conftest import ROOT
from tests.commands.terminal import UNSET, set_size

SHOWN_AT_ONCE = "import llorch.commands.cli.progress_bar as bar\nbar.SHOWN_AFTER_S = 0\n"
RUN = "from llorch.commands.{module} import main\nmain({words!r})"


class Terminal:
    """Start a script with its stderr in a pseudo-terminal and its stdout in a file."""

    def __init__(self, script: str, *, columns: int = 80, **environment: str) -> None:
        self.master, slave = pty.openpty()
        self.stdout = tempfile.TemporaryFile()  # noqa: SIM115  # until `ended`
        set_size(slave, columns)
        kept = {name: value for name, value in os.environ.items() if name not in UNSET}
        self.process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdout=self.stdout,
            stderr=slave,
            env={**kept, "PYTHONPATH": str(ROOT / "src"), "TERM": "xterm"} | environment,
        )
        os.close(slave)

    def seen_until(self, words: str | None = None) -> str:
        """Read stderr until these words appear, or to its end."""
        seen = b""
        while words is None or words.encode() not in seen:
            try:
                read = os.read(self.master, 65536)
            except OSError:  # the other end is closed
                break
            seen += read
        return seen.decode()

    def ended(self) -> tuple[int, str, str]:
        """Wait for the script; return its exit code, stdout, and the rest of stderr."""
        seen = self.seen_until()
        os.close(self.master)
        code = self.process.wait(timeout=120)
        with self.stdout as file:
            file.seek(0)
            return code, file.read().decode(), seen


def command(module: str, *words: object, at_once: bool = True) -> str:
    """Return a script that runs one of our commands."""
    return (SHOWN_AT_ONCE if at_once else "") + RUN.format(module=module, words=list(map(str, words)))


def descriptions(seen: str) -> list[str]:
    """Return the texts before the bar, in the order of their first drawing, without colours and cursor moves."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    found = [part.split("━")[0].split("╸")[0].strip() for part in re.split(r"[\r\n]+", plain) if "━" in part]
    return list(dict.fromkeys(found))


def test_what_takes_longer_than_a_second_is_shown_with_amounts_and_leaves_nothing() -> None:
    work = "from llorch.commands.cli import progress\nimport time\n"
    work += "with progress('hashing it') as told:\n    told(2_000_000, 10_000_000); time.sleep(1.6)"
    code, _, seen = Terminal(work).ended()
    assert code == 0
    assert descriptions(seen) == ["hashing it"]
    assert "2.0 MB of 10.0 MB" in seen
    assert seen.rstrip("\r").endswith("\x1b[2K"), "the line is erased"


def test_what_is_over_at_once_shows_nothing_and_costs_no_library() -> None:
    work = "import sys\nfrom llorch.commands.cli import progress\n"
    work += "with progress('short') as told:\n    told(1, 2)\nprint('rich' in sys.modules)"
    assert Terminal(work).ended() == (0, "False\n", "")


def test_a_terminal_that_can_only_print_lines_is_shown_none() -> None:
    work = SHOWN_AT_ONCE + "with bar.progress('work') as told:\n    print(told)"
    assert Terminal(work, TERM="dumb").ended() == (0, "None\n", "")


def test_a_narrow_terminal_gets_one_line_that_fits_and_no_colour_where_none_is_wanted() -> None:
    name = "a/name\nthat is long and [bold]marked[/bold] 模型 " * 3
    work = SHOWN_AT_ONCE + f"import time\nwith bar.progress({name!r}, in_bytes=False) as told:\n"
    work += "    told(70_000, 100_000); time.sleep(0.5)"
    _, _, seen = Terminal(work, columns=30, NO_COLOR="1").ended()
    assert "\n" not in seen.replace("\r\n", "", 1)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", seen)


def test_parts_have_names_and_the_clock_begins_again_with_each() -> None:
    work = SHOWN_AT_ONCE + "import time\nwith bar.progress('checking') as told:\n"
    work += "    time.sleep(1.3); told.step('checking one', 0, 1); time.sleep(0.3)\n"
    work += "    told.step('checking two', 3, 4); time.sleep(0.3)"
    _, _, seen = Terminal(work).ended()
    assert descriptions(seen) == ["checking", "checking one", "checking two"]
    last = seen[seen.rindex("checking two") :]
    assert "0:00:00" in last
    assert "0:00:01" not in last


def test_a_check_says_which_it_is_and_json_has_none_of_it(source: Path) -> None:
    words = (source, "-o", "tiny", "--verify", "none")
    assert Terminal(command("convert.command", *words)).ended()[0] == 0
    code, out, seen = Terminal(command("verify", "tiny", "--json")).ended()
    assert code == 0, seen
    assert out.startswith("{")
    assert out.endswith("}\n")
    assert "━" not in out
    assert "checking " in seen


def test_perplexity_loading_and_a_prompt_are_shown(source: Path, alone: Path) -> None:
    (alone / "text.txt").write_text("to be or not to be " * 20)
    words = ("perplexity", source, "text.txt", "--n-ctx", "16")
    code, out, seen = Terminal(command("run", *words)).ended()
    assert code == 0, seen
    assert "perplexity" in out
    assert f"loading {source.name}" in descriptions(seen)
    code, _, seen = Terminal(command("run", "generate", source, "-p", "to be " * 9, "-n", "1")).ended()
    assert code == 0, seen
    assert f"loading {source.name}" in descriptions(seen)


HOLD = """
import sqlite3, sys
held = sqlite3.connect(sys.argv[1], isolation_level=None)
held.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
held.execute("ROLLBACK")
"""


def held(registry: Path, script: Path) -> subprocess.Popen[str]:
    """A process that holds the registry's write lock until it is sent a line."""
    script.write_text(HOLD)
    process = subprocess.Popen(
        [sys.executable, script, registry], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_waits_for_the_registry_sees_whom_for_and_goes_on_when_it_is_free(
    source: Path, alone: Path
) -> None:
    words: Sequence[object] = (source, "-o", "tiny", "--verify", "none")
    assert Terminal(command("convert.command", *words)).ended()[0] == 0
    holder = held(alone / "registry.db", alone / "holds.py")
    waits = Terminal(command("registry", "tag", "tiny", "other"), columns=200)
    seen = waits.seen_until(f"which pid {holder.pid} (holds.py) holds")
    assert "waiting for the registry" in seen
    holder.communicate("\n", timeout=60)
    code, out, _ = waits.ended()
    assert (code, out.split()[0]) == (0, "tagged")


def test_a_registry_that_stays_locked_names_the_process_that_holds_it(source: Path, alone: Path) -> None:
    from llorch.registry import Registry, RegistryError

    Terminal(command("convert.command", source, "-o", "tiny", "--verify", "none")).ended()
    holder = held(alone / "registry.db", alone / "holds.py")
    began = time.monotonic()
    with (
        pytest.raises(RegistryError, match=rf"pid {holder.pid} \(holds\.py\) held it for longer than 0\.3 s"),
        Registry(alone / "registry.db", timeout_s=0.3) as registry,
    ):
        registry.set_alias("other", "tiny")
    assert time.monotonic() - began >= 0.3
    holder.communicate("\n", timeout=60)


def test_an_interrupted_check_says_how_to_go_on(source: Path) -> None:
    assert Terminal(command("convert.command", source, "-o", "tiny", "--verify", "none")).ended()[0] == 0
    stop = "lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)\n"
    for place in ("recorded_source", "verify"):
        stops = f"import llorch.verification, signal, os\nllorch.verification.{place} = {stop}"
        code, _, seen = Terminal(stops + command("verify", "tiny")).ended()
        assert code == -2
        assert seen.count("interrupted: nothing was written; the same command begins again") == 1
