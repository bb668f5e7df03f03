"""Making a plan from candidates: each one's output folder, estimated needs, and whether it is refused."""

from __future__ import annotations

import functools
import hashlib
import socket
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llorch import converter, formats
from llorch.base.errors import MalformedInput
from llorch.base.version import __version__
from llorch.commands.batch.estimates import needs_of
from llorch.commands.convert.command import folder_name
from llorch.converter import ConvertOptions
from llorch.fleet import Plan, Task, key_of

if TYPE_CHECKING:
    from llorch.commands.batch.candidates import Candidate

LONGEST_NAME = 150  # characters of a folder's name; with a key's digits it stays below file systems' limits


def read_options(path: Path | None) -> ConvertOptions:
    """Read the fields of `ConvertOptions` from a TOML file; defaults for None. Raises MalformedInput, OSError."""
    if path is None:
        return ConvertOptions()
    try:
        return ConvertOptions(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:  # not TOML, an unknown key, or an invalid value
        known = ", ".join(ConvertOptions().to_json())
        raise MalformedInput(str(error), path=path, hint=f"the keys are {known}") from error


@functools.cache
def tables_version() -> str:
    """Return 16 hex digits of a SHA-256 of the code of converter/ and formats/, which decides the output's bytes."""
    digest = hashlib.sha256()
    for room in (converter, formats):
        folder = Path(str(room.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def build_plan(
    found: Iterable[Candidate],
    options: ConvertOptions,
    level: str,
    *,
    gpus: int = 0,
    on_task: Callable[[Candidate], None] | None = None,
) -> Plan:
    """Make the plan; it does not depend on the order of the candidates.

    Models of the same identity are one task. level: the level of verification to estimate. on_task: called with each
    candidate.
    """
    tools = {"llorch": __version__, "tables": tables_version()}
    chosen = options.to_json()
    by_key: dict[str, Candidate] = {}
    for candidate in found:
        if on_task is not None:
            on_task(candidate)
        # A source that cannot be accessed has no identity: its name is used instead.
        key = key_of(candidate.identity or f"unknown:{candidate.source}", chosen, tools)
        known = by_key.get(key)
        if known is None or _preference(candidate) < _preference(known):
            by_key[key] = candidate
    names = _names(by_key)
    tasks = [_task(key, one, names[key], level, gpus) for key, one in by_key.items()]
    return Plan(chosen, tools, level, sorted(tasks, key=lambda task: task.output))


def _preference(candidate: Candidate) -> tuple[bool, bool, str]:
    """Sort key among copies of one model: accessible first, then local, then by name."""
    return candidate.refused is not None, not candidate.is_here, candidate.source


def _task(key: str, candidate: Candidate, output: str, level: str, gpus: int) -> Task:
    written = (candidate.preview.converted_size if candidate.preview else None) or 0
    return Task(
        key=key,
        source=candidate.source,
        identity=candidate.identity,
        output=output,
        source_bytes=candidate.size_bytes,
        output_bytes=written,
        needs=needs_of(candidate.size_bytes, written, is_here=candidate.is_here, level=level, gpus=gpus),
        refused=candidate.refused,
        host=socket.gethostname() if candidate.is_here and candidate.trouble is None else "",
    )


def _names(by_key: Mapping[str, Candidate]) -> dict[str, str]:
    """Return each key's folder name: the model's, with the first digits of the key if several would be the same."""
    plain = {}
    for key, candidate in by_key.items():
        name = folder_name(Path(candidate.title.replace("/", "--").replace("\0", ""))).lstrip(".")
        plain[key] = name[:LONGEST_NAME] or "model"
    taken = Counter(name.casefold() for name in plain.values())  # some file systems ignore case
    return {key: name if taken[name.casefold()] == 1 else f"{name}-{key[:12]}" for key, name in plain.items()}
