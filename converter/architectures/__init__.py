"""The architectures: one file per family, found by listing this package, so adding a file adds a family."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.schema.architecture import Architecture, Evidence
from llorch.converter.schema.not_yet import PARTLY, what_it_is


def architectures() -> tuple[Architecture, ...]:
    """Return every Architecture that a module of this package defines."""
    return _in_package(tuple(__path__))


def choose_architecture(evidence: Evidence) -> Architecture:
    """Choose the architecture for a file: by its name, and among several with one name by their conditions.

    UnsupportedInput for an unknown name, which lists the known ones.
    """
    name = evidence.keys.prefix
    named = [a for a in architectures() if a.gguf == name]
    special = [a for a in named if a.when is not None and a.when(evidence)]
    general = [a for a in named if a.when is None]
    if named and not special and not general:
        raise UnsupportedInput(
            f"is {printable(name)}, {PARTLY[name]}: not converted yet", where="key 'general.architecture'"
        )
    if not named:
        refuse_unsupported(name)
        known = ", ".join(sorted({a.gguf for a in architectures()}))
        raise UnsupportedInput(
            f"is {printable(name)}, which is not known; known are {known}", where="key 'general.architecture'"
        )
    if len(special) > 1:
        classes = ", ".join(a.class_name for a in special)
        raise UnsupportedInput(f"fits several classes: {classes}", where="key 'general.architecture'")
    return (special or general)[0]


def refuse_unsupported(name: str) -> None:
    """Raise UnsupportedInput for an architecture that is known but not converted."""
    what = what_it_is(name)
    if what is not None:
        raise UnsupportedInput(
            f"is {printable(name)}, {what}: not converted yet", where="key 'general.architecture'"
        )


@functools.cache
def _in_package(path: tuple[str, ...]) -> tuple[Architecture, ...]:
    found: dict[int, Architecture] = {}  # by identity: one file may import another's
    for module in sorted(pkgutil.iter_modules(path), key=lambda m: m.name):
        names = vars(importlib.import_module(f"{__name__}.{module.name}"))
        found |= {id(a): a for a in names.values() if isinstance(a, Architecture)}
    return tuple(found.values())
