"""Public names of a package that are imported when first used, so that importing the package is cheap."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str] | Mapping[str, str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for a package whose public names live in modules below it.

    modules: module, relative to the package → the names it defines; if a mapping, public name → its name in the module.
    After its first use a name is an attribute of the package. An unknown name is an AttributeError.

    >>> get, names = lazy_names("llorch.base", {"printable": ["printable"], "times": {"utc_text": "rfc3339"}})
    >>> get("utc_text").__name__
    'rfc3339'
    >>> "printable" in names()
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
