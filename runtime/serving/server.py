"""The server's life cycle: listen, load the model, report ready, serve, drain."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import uvicorn

from llorch.runtime.serving.app import make_app
from llorch.runtime.serving.callback import notify_ready
from llorch.runtime.serving.service import Service
from llorch.runtime.serving.settings import Card, Limits, Settings
from llorch.runtime.serving.transport.protocol import bounded_protocol

if TYPE_CHECKING:
    from llorch.runtime.model import Model

LOG = logging.getLogger("llorch.serving")
BACKLOG = 512


def listen(host: str, port: int, limits: Limits) -> socket.socket:
    """Open a listening socket; port 0 is any free one. OSError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=False)
    # connections inherit it
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)
    listening.setblocking(False)
    return listening


def uri_of(listening: socket.socket) -> str:
    """The server's URI; for one that listens on all addresses, by the host's name."""
    host, port = listening.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104  # compared, not bound
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: the caller has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One server. `run` returns when it has drained, and raises whatever prevents it from serving.

    load: returns the model; runs in a thread while /health answers 503. identify: returns a more complete `card`; runs
    in a thread while the model is served already. on_ready: called with the URI when requests are accepted.
    """

    def __init__(
        self,
        settings: Settings,
        card: Card,
        listening: socket.socket,
        load: Callable[[], Model],
        *,
        identify: Callable[[], Card] | None = None,
        on_ready: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.service = Service(settings, card)
        self._listening = listening
        self._load = load
        self._identify = identify
        self._on_ready = on_ready
        self._ending = asyncio.Event()
        self._forced = False

    def drain(self) -> None:
        """Accept nothing new and end when all accepted requests are answered; a second call ends at once."""
        if self._ending.is_set():
            self._forced = True
            self.service.cancel_all()
        self._ending.set()

    async def run(self) -> None:
        """Serve until `drain` was called and has finished."""
        limits = self.service.settings.limits
        uri = uri_of(self._listening)
        config = uvicorn.Config(
            make_app(self.service),
            http=bounded_protocol(limits),
            ws="none",
            lifespan="off",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=int(limits.keep_alive_s),
            h11_max_incomplete_event_size=limits.head_bytes,
            timeout_graceful_shutdown=5,
        )
        http = _Uvicorn(config)
        serving = asyncio.create_task(http.serve([self._listening]))
        try:
            await self._work(serving, uri)
        finally:
            http.should_exit = True
            http.force_exit = self._forced
            await serving
            await asyncio.to_thread(self.service.close)

    async def _work(self, serving: asyncio.Task[None], uri: str) -> None:
        ending = asyncio.create_task(self._ending.wait())
        loading = asyncio.create_task(asyncio.to_thread(self._load))
        try:
            await asyncio.wait({ending, loading, serving}, return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                self.service.state = "draining"
                await asyncio.wait({loading})  # a thread cannot be stopped; its model is closed afterwards
            self.service.set_model(loading.result())
            if not self._ending.is_set():
                await self._ready(uri, ending)
                await asyncio.wait({ending, serving}, return_when=asyncio.FIRST_COMPLETED)
            await self.service.drain()
        finally:
            ending.cancel()

    async def _ready(self, uri: str, ending: asyncio.Task[bool]) -> None:
        """Report that the server is ready, and look up further facts about the model."""
        settings = self.service.settings
        self._on_ready(uri)
        if settings.callback_url is not None:
            saying = asyncio.create_task(
                notify_ready(settings.callback_url, settings.worker_id, self.service.vram_bytes(), uri)
            )
            await asyncio.wait({saying, ending}, return_when=asyncio.FIRST_COMPLETED)
            if saying.done():
                saying.result()
            saying.cancel()
        if self._identify is not None:
            await self._look_up_card(self._identify, ending)

    async def _look_up_card(self, identify: Callable[[], Card], ending: asyncio.Task[bool]) -> None:
        knowing = asyncio.create_task(asyncio.to_thread(identify))
        await asyncio.wait({knowing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not knowing.done():
            return
        error = knowing.exception()
        if error is None:
            self.service.card = knowing.result()
        else:
            LOG.warning("what the registry knows of the model could not be looked up: %s", error)
