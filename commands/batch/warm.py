"""`run_task` with all its imports: a fork server imports this module once, so that new workers have it loaded."""

from __future__ import annotations

from llorch.commands.batch.task import run_task
from llorch.converter import convert
from llorch.registry import Registry

__all__ = ["Registry", "convert", "run_task"]
