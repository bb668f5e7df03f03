"""transformers, the library that users load a folder with, if it is installed."""

from __future__ import annotations

import logging
from importlib.util import find_spec
from threading import Lock
from typing import Any

from llorch.verification.check import CannotCheck

_IMPORTS = Lock()


def require_transformers(*classes: str) -> Any:
    """Import transformers with some of its classes, and silence its log. Raises CannotCheck if it isn't installed.

    Under a lock, since its modules have circular imports that aren't safe in several threads. Takes seconds.
    """
    if find_spec("transformers") is None:
        raise CannotCheck("transformers is not installed: the extra `verify` brings it", optional=True)
    with _IMPORTS:
        import transformers  # slow, as said above

        for name in classes:
            getattr(transformers, name)
        transformers.logging.set_verbosity(logging.CRITICAL)
        transformers.logging.disable_progress_bar()
    return transformers
