"""`llorch-run chat` as a user sees it: typed at a pseudo-terminal, key by key."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llorch.commands.run.conversation import command
from tests.commands.conftest import ROOT
from tests.models.gguf_writer import STRING, U32, one
from tests.models.tiny import random_llama

PATIENCE_S = 60
PROMPT = r"(?s)\x1b\[\?2004h[^>]*>.*?\x1b\[\?25h"  # the editor begins, and shows its cursor
LEFT = "\x1b[D"
# writes every turn with its role, so that a prompt's length tells how much is remembered
TEMPLATE = "{% for m in messages %}{{ m.role }} {{ m.content }}\n{% endfor %}"


class Terminal:
    """A chat at a pseudo-terminal: its input and its screen."""

    def __init__(self, model: Path, *options: str) -> None:
        self.ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llorch.commands.run", "chat", str(model), *options],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "src"),
                "TERM": "xterm",
                "PROMPT_TOOLKIT_NO_CPR": "1",
            },
        )
        os.close(theirs)

    def type(self, keys: str) -> None:
        os.write(self.ours, keys.encode())

    def wait_for(self, pattern: str) -> str:
        """Wait for the pattern; return the output up to it, which is then consumed."""
        end = time.monotonic() + PATIENCE_S
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < end, (pattern, self.seen[-3000:])
            if select.select([self.ours], [], [], 1)[0]:
                try:
                    self.seen += os.read(self.ours, 1 << 16).decode(errors="replace")
                except OSError:  # the other end is closed
                    pytest.fail(f"ended before {pattern!r}: {self.seen!r}")
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def close(self) -> None:
        self.process.kill()
        self.process.wait(timeout=PATIENCE_S)
        os.close(self.ours)


@pytest.fixture
def terminal(alone: Path) -> Iterator[Terminal]:
    model = random_llama().key("llama.context_length", one(U32, 100_000))
    opened = Terminal(model.key("tokenizer.chat_template", one(STRING, TEMPLATE)).write(alone / "long.gguf"))
    yield opened
    opened.close()


def test_a_person_edits_asks_interrupts_and_says_goodbye(terminal: Terminal) -> None:
    terminal.wait_for(r"/help says the rest")
    terminal.wait_for(PROMPT)
    terminal.type("hllo" + LEFT * 3 + "e\r")  # the arrow keys move, and are not part of the message
    terminal.wait_for(r"hello.*\r\r\n[^\n]*\x1b\[\?2004l")
    terminal.wait_for(r"(?s).{600}")  # it writes, and has no end of its own
    terminal.process.send_signal(signal.SIGINT)
    told = terminal.wait_for(r"tokens in mode \w+, cancelled, [\d.]+ tokens a second")
    assert int(re.findall(r"(\d+) tokens in mode", told)[-1]) > 64
    terminal.wait_for(PROMPT)
    terminal.type("/help\r")
    terminal.wait_for(r"/clear +forget what was said")
    terminal.wait_for(PROMPT)
    terminal.type("/system be brief\r")
    terminal.wait_for(PROMPT)
    terminal.type("/nonsense\r")
    terminal.wait_for(r"/nonsense is no command")
    terminal.wait_for(PROMPT)
    terminal.type("half a line\x03")  # at the prompt it gives up the line
    terminal.wait_for(PROMPT)
    terminal.type("/bye\r")
    assert terminal.process.wait(timeout=PATIENCE_S) == 0


def test_the_end_of_the_input_is_the_end(terminal: Terminal) -> None:
    terminal.wait_for(r"/help says the rest")
    terminal.wait_for(PROMPT)
    terminal.type("\x04")
    assert terminal.process.wait(timeout=PATIENCE_S) == 0


def test_commands_change_what_is_remembered() -> None:
    chat: Any = SimpleNamespace(
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    )
    assert command("/system be brief", chat)
    assert [message["role"] for message in chat.messages] == ["system", "user", "assistant"]
    assert command("/system be long", chat)
    assert [message["content"] for message in chat.messages] == ["be long", "a", "b"]
    assert command("/clear", chat)
    assert chat.messages == [{"role": "system", "content": "be long"}]
    assert not command("/bye", chat)
