"""A plan: the tasks of a batch and their needs, as JSON lines. The first line is about all tasks."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llorch.base.errors import MalformedInput, UnsupportedInput

SCHEMA = "llorch.batch-plan/v1"
KEY = re.compile(r"[0-9a-f]{64}")
# The name of a folder in the output folder: it can neither lead out of it nor be hidden.
OUTPUT = re.compile(r"[^./\x00][^/\x00]{0,199}")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task needs while it runs.

    disk_bytes: on the node, for the download and the output. memory_bytes: peak of all its processes together. seconds:
    estimate for one core. gpus: whole GPUs.
    """

    disk_bytes: int
    memory_bytes: int
    seconds: float
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One model to convert.

    key: the digest of everything that decides the result, see `key_of`. source: an absolute path, a URL or
    owner/repo@commit:file. identity: the source's digest, or its pinned revision. output: the name of the output
    folder. refused: why it will not be tried, else None. host: where a source that is a file was found; else empty.
    """

    key: str
    source: str
    identity: str
    output: str
    source_bytes: int
    output_bytes: int
    needs: Needs
    refused: str | None = None
    host: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks, sorted by output name.

    options: of every conversion. tools: versions that also decide the output's bytes. level: of the verification.
    """

    options: Mapping[str, Any]
    tools: Mapping[str, str]
    level: str
    tasks: Sequence[Task]


def key_of(identity: str, options: Mapping[str, Any], tools: Mapping[str, str]) -> str:
    """Return the SHA-256 of what decides a task's output bytes: two tasks have the same key if these are the same.

    >>> key_of("sha256:00", {"dtype": "auto"}, {"llorch": "1"})[:12]
    '0f27f082cd11'
    """
    document = {"identity": identity, "options": dict(options), "tools": dict(tools)}
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def plan_bytes(plan: Plan) -> bytes:
    """Return the content of a plan's file, the same for equal plans."""
    head = {"schema": SCHEMA, "options": dict(plan.options), "tools": dict(plan.tools), "level": plan.level}
    rows = [head, *(asdict(task) for task in plan.tasks)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def read_plan(path: Path) -> Plan:
    """Read a plan. Raises MalformedInput, which names the line, UnsupportedInput for another schema, and OSError."""
    try:
        lines = path.read_bytes().decode().splitlines()
    except UnicodeDecodeError as error:
        raise MalformedInput("is not UTF-8, so it is no plan", path=path, offset=error.start) from error
    rows = [_parse(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
    head = rows[0] if rows else {}
    if head.get("schema") != SCHEMA:
        hint = "`llorch batch plan` makes one"
        raise UnsupportedInput(f"its first line has no schema {SCHEMA!r}", path=path, hint=hint)
    tasks = [_task(row, number, path) for number, row in enumerate(rows[1:], 2)]
    for name in ("key", "output"):
        _require_distinct([getattr(task, name) for task in tasks], name, path)
    try:
        return Plan(dict(head["options"]), dict(head["tools"]), str(head["level"]), tuple(tasks))
    except (LookupError, TypeError, ValueError) as error:
        raise MalformedInput("has no options, tools or level", where="line 1", path=path) from error


def _parse(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedInput("is no JSON", where=f"line {number}", path=path) from error
    if not isinstance(row, dict):
        raise MalformedInput("is no JSON object", where=f"line {number}", path=path)
    return row


def _task(row: Mapping[str, Any], number: int, path: Path) -> Task:
    """Return the task of a line, after checking its values."""
    where = f"line {number}"
    try:
        task = Task(**{**row, "needs": Needs(**row["needs"])})
    except (LookupError, TypeError) as error:
        raise MalformedInput(f"is no task: {error}", where=where, path=path) from error
    texts = (task.key, task.source, task.identity, task.output, task.host)
    numbers = (task.source_bytes, task.output_bytes, *asdict(task.needs).values())
    if not all(isinstance(text, str) for text in texts) or not KEY.fullmatch(task.key):
        raise MalformedInput(
            "is no task: its key, source, identity, output and host are text", where=where, path=path
        )
    if not OUTPUT.fullmatch(task.output):
        raise MalformedInput(f"{task.output!r} is no name of a folder", where=where, path=path)
    if any(isinstance(n, bool) or not isinstance(n, int | float) or not 0 <= n < 1e18 for n in numbers):
        raise MalformedInput("is no task: a size or time is no number", where=where, path=path)
    if task.refused is not None and not isinstance(task.refused, str):
        raise MalformedInput("is no task: refused is text", where=where, path=path)
    return task


def _require_distinct(values: Sequence[str], name: str, path: Path) -> None:
    seen: set[str] = set()
    for number, value in enumerate(values, 2):
        if value in seen:
            raise MalformedInput(f"has the {name} of an earlier line", where=f"line {number}", path=path)
        seen.add(value)
