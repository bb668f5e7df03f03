"""Public names of a package that load their module when they are first used, so that a face costs nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str] | Mapping[str, str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` for a package whose public names live in modules below it.

    modules: module, relative to the package → the names that it defines; as a mapping, public name → its name there.
    A name is kept once it was asked for. Raises AttributeError for a name that is none of them.

    >>> get, names = lazy_names("llorch.base", {"shown": ["shown"], "times": {"utc_text": "rfc3339"}})
    >>> get("utc_text").__name__
    'rfc3339'
    >>> "shown" in names()
    True
    """
    homes = {
        public: (module, name)
        for module, names in modules.items()
        for public, name in (names.items() if isinstance(names, Mapping) else zip(names, names, strict=True))
    }

    def get(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, inside = homes[name]
        value = getattr(importlib.import_module(f"{package}.{module}"), inside)
        setattr(sys.modules[package], name, value)
        return value

    def public_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, public_names
