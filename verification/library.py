"""transformers, where it is installed: what users load a folder with."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from threading import Lock
from typing import Any

from llorch.verification.check import CannotCheck

_IMPORTS = Lock()


def require_transformers(*classes: str) -> Any:
    """The library with some of its classes, silent: what it cannot do it raises. CannotCheck where it is not installed.

    One thread at a time imports them, of modules that import each other in circles; it takes seconds.
    """
    if find_spec("transformers") is None:
        raise CannotCheck("transformers is not installed: the extra `verify` brings it", optional=True)
    with _IMPORTS:
        import transformers  # as said

        for name in classes:
            getattr(transformers, name)
        transformers.logging.set_verbosity(logging.CRITICAL)
        transformers.logging.disable_progress_bar()
    return transformers
