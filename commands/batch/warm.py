"""A task's function with all that it needs loaded: a fork server imports it once, and workers are born with it."""

from __future__ import annotations

from llorch.commands.batch.task import run_task
from llorch.converter import convert
from llorch.registry import Registry

__all__ = ["Registry", "convert", "run_task"]
