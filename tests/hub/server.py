"""The thread that runs the three servers, each on a free port."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.hub.app import application
from tests.hub.hub import Addresses, Hub

# Every address of 127/8 is this machine on Linux alone; elsewhere the CDN is another origin by its port.
OTHER_HOST = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
HOSTS = {"hub": "127.0.0.1", "cdn": OTHER_HOST, "site": "127.0.0.1"}
BACKLOG = 128


class Servers:
    """Running servers, and the current hub's applications."""

    def __init__(self, addresses: Addresses) -> None:
        self.addresses = addresses
        self.applications: dict[str, ASGIApp] = {}

    def new_hub(self, home: Path) -> Hub:
        """Replace the hub by an empty one; answers of the old one that are still being sent are not recorded in it."""
        hub = Hub(self.addresses, home)
        self.applications = {server: application(hub, server) for server in HOSTS}
        return hub

    def listener(self, server: str) -> ASGIApp:
        """Return the ASGI application of a server, which calls the current hub's."""

        async def listen(scope: Scope, receive: Receive, send: Send) -> None:
            await self.applications[server](scope, receive, send)

        return listen


@contextmanager
def running() -> Iterator[Servers]:
    """Run the servers until the block ends."""
    sockets = {server: socket.create_server((host, 0), backlog=BACKLOG) for server, host in HOSTS.items()}
    urls = {server: "http://{}:{}".format(*listening.getsockname()) for server, listening in sockets.items()}
    servers = Servers(Addresses(**urls))
    made = {server: uvicorn_server(servers.listener(server)) for server in HOSTS}

    async def serve_all() -> None:
        await asyncio.gather(*(made[server].serve([sockets[server]]) for server in HOSTS))

    thread = threading.Thread(target=asyncio.run, args=[serve_all()], name="hub", daemon=True)
    thread.start()
    try:
        yield servers
    finally:
        for server in made.values():
            server.should_exit = True
        thread.join()


def uvicorn_server(application: ASGIApp) -> uvicorn.Server:
    """Return a server without logs, signals or a wait for unfinished answers at shutdown."""
    config = uvicorn.Config(
        application,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=0,
    )
    return uvicorn.Server(config)
