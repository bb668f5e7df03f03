"""The house keeps its walls: no room grows flat, imports between rooms go through faces, private words stay out."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ROOMS = (
    "base",
    "commands",
    "converter",
    "fleet",
    "formats",
    "registry",
    "runtime",
    "sources",
    "verification",
)
MODULES_OF_A_ROOM = 17  # some sixteen
MAY_REACH_INSIDE = 20

# Rooms with more modules than a reader takes in at a glance, and why that is right.
TABLES = {
    "converter/architectures": "one file a family: a table, cut so that a new model edits nobody else's"
}

# Imports that reach inside another room, and why. `base` has no face: each of its modules is one.
REASONS = {
    "llorch.formats.quants": "kernels as modules, of which a caller takes one or the other by the size of the work",
    "llorch.formats.tokenizer.sentencepiece_model": "protobuf, for the vocabularies that have one",
    "llorch.formats.tokenizer.templates": "reads templates without loading what builds a tokenizer",
    "llorch.converter.quantization": "measures and draws only when --report or --reference is asked for",
    "llorch.converter.quantization_report": "as above",
    "llorch.formats.signatures": "cryptography, an extra, and only where something is signed",
    "llorch.runtime.serving": "Starlette and pydantic, an extra, and only where something is served",
    "llorch.registry.export.drawing": "draws only when --dot or --svg is asked for",
}

# Words that only we knew, and what stands for each now.
PRIVATE_WORDS = {
    "told": "recorded, noted, or what it is", "heard": "observed", "untold": "open_registry", "try_out": "smoke_test",
    "Lone": "SmokeSubject", "ALONE": "SMOKE_CHECKS", "Came": "FetchResult", "CameModel": "FetchedModel",
    "came_by_fetch": "from_fetch", "came_by_adoption": "from_adoption", "bytes_come": "bytes_fetched",
    "told_as_ours": "translated_errors", "ours": "translate", "no_hub": "not_a_hub", "passing": "transient",
    "Outlook": "Preview", "Landing": "DownloadStaging", "StandIn": "SparseFile", "settle": "materialize",
    "Room": "Buffer", "Rooms": "BufferPool", "lend": "retain", "closure": "round_trip",
    "NotTakenBack": "RoundTripError", "require_way_back": "require_round_trip", "Whence": "Identification",
    "plainly": "numpy_kernels", "Wish": "FileFilter", "taken_back": "round_trip",
}  # fmt: skip


def modules() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((REPOSITORY / room).rglob("*.py"))


def name_of(path: Path) -> str:
    dotted = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    return f"llorch.{dotted.removesuffix('.__init__')}"


MODULES = {name_of(path): path for path in modules()}


def is_face(module: str) -> bool:
    return MODULES[module].name == "__init__.py"


def test_no_room_lists_more_modules_than_a_reader_takes_in() -> None:
    folders = {path.parent for path in modules()}
    flat = {}
    for folder in folders:
        entries = [path for path in folder.iterdir() if path.suffix == ".py"]
        here = folder.relative_to(REPOSITORY).as_posix()
        if len(entries) - 1 > MODULES_OF_A_ROOM and here not in TABLES:
            flat[here] = len(entries) - 1
    assert flat == {}


def test_imports_between_rooms_go_through_faces() -> None:
    inside = []
    for name, path in MODULES.items():
        room = name.split(".")[1]
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("llorch."):
                continue
            module = str(node.module)
            if module.split(".")[1] in (room, "base"):
                continue
            reached = {f"{module}.{alias.name}" for alias in node.names} & MODULES.keys()
            reached = {target for target in reached if not is_face(target)}
            if not is_face(module):
                reached.add(module)
            inside += [(name, target) for target in reached]
    unexplained = [pair for pair in inside if not pair[1].startswith(tuple(REASONS))]
    assert unexplained == []
    assert len(inside) <= MAY_REACH_INSIDE


def identifiers(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Name):
            yield node.id, line
        elif isinstance(node, ast.Attribute):
            yield node.attr, line
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            yield node.name, line
        elif isinstance(node, ast.arg | ast.keyword):
            yield str(node.arg), line


@pytest.mark.parametrize("room", ROOMS)
def test_no_private_word_is_a_name(room: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {word}: say {PRIVATE_WORDS[word]}"
        for path in sorted((REPOSITORY / room).rglob("*.py"))
        for word, line in identifiers(ast.parse(path.read_text()))
        if word in PRIVATE_WORDS
    ]
    assert found == []


def test_every_package_whose_version_is_asked_for_is_declared() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[<>=\[ ]", entry)[0].replace("-", "_") for entry in project["dependencies"]} | {
        "llorch"
    }
    asked = set()
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "LIBRARIES":
                asked |= set(ast.literal_eval(node.value))
            called = node.func if isinstance(node, ast.Call) else None
            name = getattr(called, "attr", getattr(called, "id", ""))
            if isinstance(node, ast.Call) and name == "version" and node.args:
                asked |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    assert {name.replace("-", "_") for name in asked} - declared == set()
    assert "numpy" in asked
