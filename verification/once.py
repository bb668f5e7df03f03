"""A cached property for checks in several threads, which caches a refusal as it caches a value."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any, TypeVar

from llorch.base.errors import InputError
from llorch.verification.check import CannotCheck

T = TypeVar("T")


class once(cached_property[T]):  # noqa: N801  # used as `cached_property` is
    """A thread-safe cached property, which also caches CannotCheck and InputError and raises them again."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        refused: weakref.WeakKeyDictionary[Any, Exception] = weakref.WeakKeyDictionary()
        lock = threading.RLock()

        @wraps(function)
        def attempt(subject: Any) -> T:
            with lock:
                if self.attrname in vars(subject):  # computed while this thread waited
                    return vars(subject)[self.attrname]  # type: ignore[no-any-return]
                if subject in refused:
                    raise refused[subject]
                try:
                    made = vars(subject)[self.attrname] = function(subject)
                except (CannotCheck, InputError) as error:
                    refused[subject] = error
                    raise
                return made

        super().__init__(attempt)
