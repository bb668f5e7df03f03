"""The face: `import llorch` promises these names, loads nothing heavy, and its examples run."""

from __future__ import annotations

import ast
import doctest
import hashlib
import http.server
import importlib
import pkgutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import llorch
from tests.models.tiny import tiny_llama

HEAVY = {
    "torch",
    "numpy",
    "llvmlite",
    "sqlalchemy",
    "tokenizers",
    "transformers",
    "huggingface_hub",
    "rich",
    "jinja2",
}
PACKAGES = Path(llorch.__file__).parent


def faces() -> list[str]:
    """Every package of ours whose public names load on first use."""
    found = []
    for module in pkgutil.walk_packages([str(PACKAGES)], "llorch."):
        if module.ispkg:
            path = PACKAGES.parent.joinpath(*module.name.split("."), "__init__.py")
            if "lazy_names(" in path.read_text():
                found.append(module.name)
    return ["llorch", *found]


def test_importing_llorch_loads_nothing_heavy() -> None:
    code = f"import llorch, sys; dir(llorch); print(sorted({HEAVY} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_the_public_names_are_these() -> None:
    assert set(llorch.__all__) == {
        "ConvertOptions",
        "Registry",
        "__version__",
        "convert",
        "fetch",
        "load",
        "verify",
    }
    assert set(llorch.__all__) <= set(dir(llorch))


@pytest.mark.parametrize("name", faces())
def test_every_name_of_a_face_is_there_and_is_the_one_that_type_checkers_see(name: str) -> None:
    face = importlib.import_module(name)
    tree = ast.parse(Path(str(face.__file__)).read_text())
    checked = {
        alias.asname or alias.name: (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    public = set(face.__all__) - {"__version__"}
    assert set(checked) <= public
    assert all(name in vars(face) for name in public - set(checked))
    for public_name, (module, inside) in checked.items():
        assert getattr(face, public_name) is getattr(importlib.import_module(str(module)), inside), (
            public_name
        )
    assert public <= set(dir(face))


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = llorch.nothing


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/model.gguf"
        server.shutdown()


def test_the_examples_of_the_public_names_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(tiny_llama().build())
    monkeypatch.chdir(tmp_path)
    names = {"url": url, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    for name in ("convert", "verify", "load", "fetch", "Registry", "ConvertOptions"):
        thing = getattr(llorch, name)
        tests = [t for t in doctest.DocTestFinder(recurse=False).find(thing, name) if t.examples]
        assert tests, f"{name} has no example"
        module = vars(importlib.import_module(thing.__module__))
        for test in tests:
            test.globs = {**module, **names}
            runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
            assert runner.run(test).failed == 0, name
