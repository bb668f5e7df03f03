"""Chat template rendering: a conversation becomes a prompt, in a child process with limits.

A template comes with the model and is an untrusted program. jinja2's sandbox keeps it away from the interpreter, the
child process bounds its memory, time and files. Compiling a template already runs code, so the child does that too.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable

CHILD = Path(__file__).with_name("child.py")
TEMPLATE_BYTES = 1 << 20
OUTPUT_BYTES = 16 << 20
MEMORY_BYTES = 256 << 20  # on top of the interpreter and jinja2
CPU_S = 0.5  # for compiling and rendering; a real template takes milliseconds
WALL_S = 10.0  # long enough for half a second of CPU time on a busy machine

WHERE = "chat template"
Message = Mapping[str, Any]  # "role", "content", and whatever else the model's template uses


def render(
    template: str,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool = False,
    tools: Sequence[Message] | None = None,
    documents: Sequence[Message] | None = None,
    special_tokens: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> str:
    """Render a conversation to a prompt, as transformers' `apply_chat_template` does.

    special_tokens: texts by name ("bos_token", …), as in special_tokens_map.json. now: the template's current time, by
    default the local time. Everything must be JSON. Raises MalformedInput if the template fails or refuses the
    conversation, UnsupportedInput if it exceeds a limit of size, time or memory.
    """
    size = len(template.encode("utf-8", "surrogatepass"))
    if size > TEMPLATE_BYTES:
        raise UnsupportedInput(f"has {size} bytes, at most {TEMPLATE_BYTES}", where=WHERE)
    variables = {
        **(special_tokens or {}),
        "messages": [_with_reasoning(message) for message in messages],
        "tools": tools,
        "documents": documents,
        "add_generation_prompt": add_generation_prompt,
    }
    request = {
        "template": template,
        "variables": variables,
        "now": (now or datetime.now()).isoformat(),  # local: what templates expect
        "limits": {"memory_bytes": MEMORY_BYTES, "cpu_s": CPU_S, "output_bytes": OUTPUT_BYTES},
    }
    code, output = _run_child(json.dumps(request).encode())
    return _answer(code, output)


def _run_child(request: bytes) -> tuple[int, bytes]:
    """Run one child; return its exit status and output. It gets no environment and is killed when its time is over."""
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and file
        [sys.executable, "-I", "-B", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        close_fds=True,
        start_new_session=True,
    )
    timer = threading.Timer(WALL_S, child.kill)
    timer.start()
    try:
        with child:
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(request)  # the child reads it all before it answers
                child.stdin.close()
            except BrokenPipeError:
                pass
            output = child.stdout.read(9 + 4 * OUTPUT_BYTES)
            child.stdout.close()
            return child.wait(), output
    finally:
        timer.cancel()
        if child.poll() is None:
            child.kill()


def _answer(code: int, output: bytes) -> str:
    """Return the text of the child's answer, or raise the error that it, or its absence, stands for."""
    kind, length, body = output[:1], int.from_bytes(output[1:9], "big"), output[9:]
    if code == 0 and len(output) >= 9 and len(body) == length:
        text = body.decode()
        if kind == b"T":
            return text
        if kind == b"R":
            raise MalformedInput(f"it refuses the conversation: {printable(text, 200)}", where=WHERE)
        raise MalformedInput(f"it fails: {printable(text, 200, quoted=False)}", where=WHERE)
    if -code in (signal.SIGPROF, signal.SIGXCPU):
        raise UnsupportedInput(f"it takes more than {CPU_S} s of processor time", where=WHERE)
    if -code == signal.SIGKILL:
        raise UnsupportedInput(f"it was killed, after {WALL_S:.0f} s or for want of memory", where=WHERE)
    raise MalformedInput(f"its process ended with status {code} and no answer", where=WHERE)


def _with_reasoning(message: Message) -> dict[str, Any]:
    """Return the message with its reasoning under every name that templates read."""
    names = ("reasoning_content", "thinking", "reasoning")
    reasoning = next((message[name] for name in names if message.get(name) is not None), None)
    if reasoning is None:
        return dict(message)
    return {"thinking": reasoning, **message, "reasoning_content": reasoning}
