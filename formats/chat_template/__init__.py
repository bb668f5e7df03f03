"""Chat templates, rendered in a sandbox in a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.chat_template.child import environment
    from llorch.formats.chat_template.sandbox import render

__all__ = [
    "environment",
    "render",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "child": ["environment"],
        "sandbox": ["render"],
    },
)
