"""Public names of a package that load their module when they are first used, so that a face costs nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a package whose public names live in modules below it.

    modules: module, relative to the package → the names that it defines. A name is kept once it was asked for.

    >>> __getattr__, __dir__ = lazy_names("llorch.base", {"shown": ["shown"], "times": ["rfc3339"]})
    >>> __getattr__("rfc3339").__module__
    'llorch.base.times'
    >>> "shown" in __dir__()
    True
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return get, names
