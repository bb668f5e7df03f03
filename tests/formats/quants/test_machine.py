"""Machine code is cached on disk, found again, and compiled anew when anything it depends on has changed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llorch.formats.quants import QuantType, by_name, compiled
from llorch.formats.quants.kernel import NAME, kernel
from llorch.formats.vector_code import jit_cache
from llorch.formats.vector_code.jit_cache import function, this_machine
from llorch.formats.vector_code.vectors import Block, Has, Value
from tests.conftest import REPOSITORY

ONES = np.zeros(3, by_name("Q8_0").layout)
ONES["d"], ONES["qs"] = 1, 1


def loaded(folders: tuple[Path, ...], type: QuantType) -> Callable[[], float]:
    """Load the type's kernel from these folders; calling it returns the largest weight of ONES."""
    text = kernel(type, "F32", this_machine().has)
    run = function("Q8_0-F32", NAME, text, this_machine(), folders)

    def largest() -> float:
        out = np.zeros(96, np.float32)
        run(ONES.ctypes.data, out.ctypes.data, 3)
        return float(out.max())

    return largest


def edited() -> QuantType:
    """Q8_0 with another generator, whose weights are twice as large."""
    type = by_name("Q8_0")

    def vectors(b: Block) -> Iterator[Value]:
        d = b.numbers("d")
        for first in (0, 16):
            yield (d + d) * b.numbers("qs", first, 16).signed_floats()

    return replace(type, vectors=vectors)


def refuse(text: str, target: jit_cache.Target) -> bytes:
    raise AssertionError("compiled again")


def test_a_kernel_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded((tmp_path,), by_name("Q8_0"))() == 1
    monkeypatch.setattr(jit_cache, "_compile", refuse)
    assert loaded((tmp_path,), by_name("Q8_0"))() == 1


def test_another_process_finds_it(tmp_path: Path) -> None:
    script = f"""
from pathlib import Path
from llorch.formats.vector_code import jit_cache
from llorch.formats.vector_code.jit_cache import this_machine
from tests.formats.quants.test_machine import by_name, loaded, refuse
if REFUSE:
    jit_cache._compile = refuse
assert loaded((Path({str(tmp_path)!r}),), by_name("Q8_0"))() == 1
"""
    for first in ("False", "True"):
        command = [sys.executable, "-c", script.replace("REFUSE", first)]
        subprocess.run(command, cwd=REPOSITORY, check=True)


def test_an_edit_of_the_generator_is_noticed_and_the_stale_code_removed(tmp_path: Path) -> None:
    assert loaded((tmp_path,), by_name("Q8_0"))() == 1
    assert loaded((tmp_path,), edited())() == 2
    assert len(list(tmp_path.iterdir())) == 1


def test_code_of_another_processor_stays_and_is_not_run(tmp_path: Path) -> None:
    text = kernel(by_name("Q8_0"), "F32", Has(halves=False, shuffle=False))
    function("Q8_0-F32", NAME, text, replace(this_machine(), cpu="x86-64-v2"), (tmp_path,))
    function("Q8_0-F32", NAME, text, this_machine(), (tmp_path,))
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "damage", [lambda code: code[:-1], lambda code: b"", lambda code: code[:-1] + b"\xff"]
)
def test_damaged_code_is_made_again(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    loaded((tmp_path,), by_name("Q8_0"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert loaded((tmp_path,), by_name("Q8_0"))() == 1


def test_the_next_folder_is_used_if_the_first_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    second = tmp_path / "second"
    assert loaded((tmp_path / "a file", second), by_name("Q8_0"))() == 1
    assert len(list(second.iterdir())) == 1


def test_without_a_folder_it_is_compiled_and_not_cached(tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    assert loaded((tmp_path / "a file",), by_name("Q8_0"))() == 1


def test_dequantize_into_caches_its_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit_cache, "cache_folders", lambda: (tmp_path,))
    out = np.zeros(96, np.float16)
    compiled.dequantize_into(edited(), ONES.view(np.uint8), out)
    assert out.tolist() == [2] * 96
    assert [file.name.split(".")[0] for file in tmp_path.iterdir()] == ["Q8_0-F16"]


def test_compiling_needs_neither_numba_nor_torch() -> None:
    heavy = {"numba", "torch", "gguf"}
    script = f"import sys, llorch.formats.quants.compiled\nsys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
