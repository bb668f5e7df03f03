"""Machine code of kernels: compiled by LLVM for this processor, cached on disk, loaded as functions.

A file's name holds a digest of the kernel's text, the processor and the compiler, so a change of any of them (an edit
of the generator, too) uses another file. A file begins with a digest of the rest: a truncated one is compiled again,
not run.
"""

from __future__ import annotations

import ctypes
import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import platformdirs
from llvmlite import binding as llvm

from llorch.formats.vector_code.vectors import Has

Function = Callable[[int, int, int], int]
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Target:
    """A processor to compile for, as LLVM names it."""

    cpu: str
    features: str

    @property
    def has(self) -> Has:
        """The instructions that kernels may use; without instructions for halves LLVM would call a library function."""
        triple, features = llvm.get_process_triple(), self.features.split(",")
        if triple.startswith(("x86_64", "amd64")):
            return Has(halves="+f16c" in features, shuffle="+avx2" in features)
        return Has(halves=triple.startswith(("aarch64", "arm64")), shuffle=False)


@cache
def this_machine() -> Target:
    """Return the processor that this process runs on."""
    return Target(llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())


def function(
    name: str, symbol: str, text: str, target: Target, folders: tuple[Path, ...] | None = None
) -> Function:
    """Return the kernel `symbol` of a module, cached or compiled as by `machine_code`.

    The function takes the addresses of source and target and a number of steps, and releases the GIL while it runs.
    """
    code = machine_code(name, text, target, folders)
    signature = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    loaded: Any = signature(code.address(symbol))
    loaded.code = code
    return loaded  # type: ignore[no-any-return]


class Code:
    """Machine code in memory; it is freed with this object."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def address(self, symbol: str) -> int:
        """Return the address of a function."""
        found: int = self._engine.get_function_address(symbol)
        return found


def machine_code(name: str, text: str, target: Target, folders: tuple[Path, ...] | None = None) -> Code:
    """Compile the functions of a module's text, or load them from the first cache folder that has them.

    name: the beginning of the file's name. folders: cache folders, by default `cache_folders()`; the code is saved in
    the first one that can be written to, and if none can, it is compiled in every process.
    """
    compiler = f"{llvmlite.__version__} {llvm.llvm_version_info} {llvm.get_process_triple()}"
    key = hashlib.sha256(f"{compiler}\n{target}\n{text}".encode()).hexdigest()[:24]
    machine = hashlib.sha256(f"{target}".encode()).hexdigest()[:8]
    places = [folder / f"{name}.{machine}.{key}.o" for folder in folders or cache_folders()]
    code = next(filter(None, map(_read_kept, places)), None)
    if code is None:
        code = _compile(text, target)
        for place in places:
            if _keep(place, code):
                break
    return _load(code, target)


def cache_folders() -> tuple[Path, ...]:
    """Return the cache folders: beside this module's bytecode, then the user's cache folder if there is one."""
    beside = Path(__file__).parent / "__pycache__"
    try:
        return beside, platformdirs.user_cache_path("llorch") / "kernels"
    except RuntimeError:  # a user without a home folder
        return (beside,)


def _compile(text: str, target: Target) -> bytes:
    """Compile a module's text to an object file."""
    machine = _target_machine(target)
    module = llvm.parse_assembly(text)
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(module, passes)
    code: bytes = machine.emit_object(module)
    return code


def _load(code: bytes, target: Target) -> Code:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target_machine(target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Code(engine)


def _target_machine(target: Target) -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    found = llvm.Target.from_triple(llvm.get_process_triple())
    return found.create_target_machine(cpu=target.cpu, features=target.features, opt=3, jit=True)


def _read_kept(place: Path) -> bytes | None:
    """Return the code in a cache file; None if the file is missing or damaged."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    digest, code = content[:_DIGEST], content[_DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(place: Path, code: bytes) -> bool:
    """Save the code in one step and delete older code of the same kernel; return False if that fails."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=".kernel-") as folder:
            part = Path(folder) / place.name
            part.write_bytes(hashlib.sha256(code).digest() + code)
            part.replace(place)
        kernel_on_machine = place.name.rsplit(".", 2)[0]
        for other in place.parent.glob(f"{kernel_on_machine}.*.o"):
            if other != place:
                other.unlink(missing_ok=True)
    except OSError:
        return False
    return True
