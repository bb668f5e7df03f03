"""All checks, in the order in which they run: from bytes, through meaning, to behaviour.

A check is a function of a `Subject` with a declaration. To add one, write it into the module of its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from llorch.verification.check import Check
from llorch.verification.checks import behaviour, loading, meaning, storage, tokenizer
from llorch.verification.subject import Subject

CHECKS: Mapping[str, Check[Subject]] = MappingProxyType(
    {
        found.name: found
        for kind in (storage, meaning, tokenizer, behaviour, loading)
        for found in vars(kind).values()
        if isinstance(found, Check)
    }
)
