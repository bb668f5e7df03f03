"""`llorch-run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.commands.run.command import main

__all__ = ["main"]

__getattr__, __dir__ = lazy_names(__name__, {"command": ["main"]})
