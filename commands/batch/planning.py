"""A plan made of candidates: what becomes of each, what it will take, and which are refused."""

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

LONGEST_NAME = (
    150  # characters of a folder's name; with the ending of a key it stays below what file systems take
)


def read_options(path: Path | None) -> ConvertOptions:
    """The conversion's options in a TOML file, by the names of `ConvertOptions`. Raises MalformedInput, OSError."""
    if path is None:
        return ConvertOptions()
    try:
        return ConvertOptions(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:  # no TOML, an unknown key, a value that means nothing
        known = ", ".join(ConvertOptions().to_json())
        raise MalformedInput(str(error), path=path, hint=f"the keys are {known}") from error


@functools.cache
def tables_version() -> str:
    """A digest of the code that decides a conversion's bytes beside its options: families, types, vocabularies."""
    digest = hashlib.sha256()
    for room in (converter, formats):
        folder = Path(str(room.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def made_plan(
    found: Iterable[Candidate],
    options: ConvertOptions,
    level: str,
    *,
    gpus: int = 0,
    on_task: Callable[[Candidate], None] | None = None,
) -> Plan:
    """The plan: the same for the same candidates, in whatever order they come.

    Models of one identity are one task. level: of the verification that the estimate is for. on_task: called with each
    candidate that was looked at.
    """
    tools = {"llorch": __version__, "tables": tables_version()}
    chosen = options.to_json()
    by_key: dict[str, Candidate] = {}
    for candidate in found:
        if on_task is not None:
            on_task(candidate)
        # What could not be had has no identity: it is told by where it was looked for.
        key = key_of(candidate.identity or f"unknown:{candidate.source}", chosen, tools)
        known = by_key.get(key)
        if known is None or _preference(candidate) < _preference(known):
            by_key[key] = candidate
    names = _names(by_key)
    tasks = [_task(key, one, names[key], level, gpus) for key, one in by_key.items()]
    return Plan(chosen, tools, level, sorted(tasks, key=lambda task: task.output))


def _preference(candidate: Candidate) -> tuple[bool, bool, str]:
    """Of two places of one model the one that can be had, that is here, that comes first by name."""
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
    """A folder's name for each key: the model's, and where several have one, with the key's first digits."""
    plain = {}
    for key, candidate in by_key.items():
        name = folder_name(Path(candidate.title.replace("/", "--").replace("\0", ""))).lstrip(".")
        plain[key] = name[:LONGEST_NAME] or "model"
    taken = Counter(name.casefold() for name in plain.values())  # of file systems some know no case
    return {key: name if taken[name.casefold()] == 1 else f"{name}-{key[:12]}" for key, name in plain.items()}
