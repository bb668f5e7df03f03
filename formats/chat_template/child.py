"""The child process that renders a chat template: sets its limits, renders in jinja2's immutable sandbox, answers once.

Run by its path under `python -I`, so it cannot import llorch. Standard input: one JSON object
{"template", "variables", "now", "limits"}. Standard output: a letter (T the text, R the template's own refusal,
E an error), the length in eight bytes, big-endian, and that many bytes of UTF-8.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace


class Refused(TemplateError):
    """The template called raise_exception: it does not support this conversation."""


class Generation(Extension):
    """The tag `{% generation %}`, which marks the assistant's text; its body is rendered unchanged."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own way to declare a tag

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """Parse the tag's statements, in a scope of their own."""
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True), lineno=line)


class PublicNamespace(Namespace):
    """`namespace()` that refuses names beginning with an underscore."""

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise SecurityError(f"a namespace keeps no name like {name!r}")
        super().__setitem__(name, value)


def namespace(*args: Any, **kwargs: Any) -> PublicNamespace:
    """Make a namespace whose initial names are checked too."""
    made = PublicNamespace()
    for name, value in dict(*args, **kwargs).items():
        made[name] = value
    return made


def environment(now: datetime) -> Environment:
    """Return an environment like the one transformers renders with: the same class, options, filter and globals.

    Source: huggingface/transformers, utils/chat_template_utils.py.
    """
    sandbox = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )

    def tojson(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def refuse(message: str) -> None:
        raise Refused(message)

    sandbox.filters["tojson"] = tojson
    sandbox.globals = {
        "raise_exception": refuse,
        "strftime_now": now.strftime,
        "range": sandbox.globals["range"],
        "dict": lambda *args, **kwargs: dict(*args, **kwargs),
        "namespace": namespace,
        "cycler": sandbox.globals["cycler"],
        "joiner": sandbox.globals["joiner"],
    }
    return sandbox


def limit(memory_bytes: int, cpu_s: float) -> None:
    """Limit the rest of the process: memory beyond its present size, CPU time, files, processes."""
    try:
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # not Linux
        held = 1 << 30
    for what, most in (
        (resource.RLIMIT_AS, held + memory_bytes),
        (resource.RLIMIT_CPU, int(cpu_s) + 1),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 16),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    # Finer than RLIMIT_CPU, which counts whole seconds; its signal ends the process.
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def main() -> None:
    """Read the request from standard input and answer it on standard output."""
    request = json.load(sys.stdin.buffer)
    limits = request["limits"]
    limit(limits["memory_bytes"], limits["cpu_s"])
    try:
        template = environment(datetime.fromisoformat(request["now"])).from_string(request["template"])
        kind, text = b"T", template.render(**request["variables"])
        if len(text) > limits["output_bytes"]:
            kind, text = b"E", f"it makes {len(text)} characters, at most {limits['output_bytes']}"
        answer = text.encode()
    except Refused as error:
        kind, answer = b"R", str(error)[:1000].encode("utf-8", "backslashreplace")
    except MemoryError:
        kind, answer = b"E", b"it needs more memory than it may have"
    except Exception as error:  # noqa: BLE001 - an untrusted template can raise anything
        kind, answer = b"E", f"{type(error).__name__}: {error}"[:1000].encode("utf-8", "backslashreplace")
    sys.stdout.buffer.write(kind + len(answer).to_bytes(8, "big") + answer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
