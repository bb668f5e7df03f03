"""Serve a model over HTTP, with the APIs of OpenAI, of llama-server and of the project's workers.

server = serving.Server(settings, card, serving.listen("127.0.0.1", 0, settings.limits), load)
await server.run()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.runtime.serving.callback import CallbackError
    from llorch.runtime.serving.server import Server, listen
    from llorch.runtime.serving.settings import Card, Keys, Limits, Settings

__all__ = ["CallbackError", "Card", "Keys", "Limits", "Server", "Settings", "listen"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "callback": ["CallbackError"],
        "server": ["Server", "listen"],
        "settings": ["Card", "Keys", "Limits", "Settings"],
    },
)
