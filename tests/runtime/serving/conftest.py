"""Servers in this process, over real sockets, with a small model."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llorch import runtime
from llorch.runtime import Model
from llorch.runtime.serving import Card, Limits, Server, Settings, listen
from tests.models.gguf_writer import STRING, U32, one
from tests.models.tiny import random_llama

NAME = "tiny"
TEMPLATE = (
    "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
    "{% if tools %}<tools>{{ tools | tojson }}</tools>{% endif %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@dataclass
class Served:
    """A running server and a client of it."""

    server: Server
    client: httpx2.Client
    model: Model
    uri: str
    port: int
    stopped: Callable[[], bool]

    def post(self, path: str, **body: object) -> httpx2.Response:
        """POST a JSON object."""
        return self.client.post(path, json=body)

    def chat(self, content: str = "hello", **fields: object) -> dict[str, object]:
        """The document of a chat completion, greedy by default."""
        body = {"model": NAME, "messages": [{"role": "user", "content": content}], "temperature": 0}
        answer = self.client.post("/v1/chat/completions", json={**body, **fields})
        assert answer.status_code == 200, answer.text
        document: dict[str, object] = answer.json()
        return document

    def complete(self, prompt: object = "hello", **fields: object) -> dict[str, object]:
        """The document of a text completion, greedy by default."""
        body = {"model": NAME, "prompt": prompt, "temperature": 0}
        answer = self.client.post("/v1/completions", json={**body, **fields})
        assert answer.status_code == 200, answer.text
        document: dict[str, object] = answer.json()
        return document


Start = Callable[..., Served]


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama model with a context of 2,048 and a chat template that takes tools."""
    made = random_llama().key("llama.context_length", one(U32, 2048))
    made.key("tokenizer.chat_template", one(STRING, TEMPLATE))
    return made.write(tmp_path_factory.mktemp("served") / "tiny.gguf")


def started(
    settings: Settings, load: Callable[[], Model], card: Card
) -> tuple[Server, int, threading.Thread, list[Exception]]:
    """Run a server in a thread of its own; an exception that it raises is put in the list."""
    listening = listen("127.0.0.1", 0, settings.limits)
    made: list[Server] = []
    failed: list[Exception] = []
    there = threading.Event()

    async def run() -> None:
        server = Server(settings, card, listening, load)
        server.loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
        made.append(server)
        there.set()
        await server.run()

    def work() -> None:
        try:
            asyncio.run(run())
        except Exception as error:  # noqa: BLE001  # noqa: BLE001  # for the test to look at
            failed.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    there.wait(10)
    return made[0], listening.getsockname()[1], thread, failed


def wait_for(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.005)


def stop(server: Server) -> None:
    """Drain as on a signal; the second call ends at once."""
    server.loop.call_soon_threadsafe(server.drain)  # type: ignore[attr-defined]


@pytest.fixture
def start(model_file: Path) -> Iterator[Start]:
    """A function that starts servers with given limits and settings; all end with the test."""
    running: list[tuple[Server, threading.Thread, httpx2.Client]] = []

    def begin(
        load: Callable[[], Model] | None = None,
        *,
        limits: Limits | None = None,
        ready: bool = True,
        **settings: object,
    ) -> Served:
        chosen = replace(Settings(**settings), limits=limits or Limits())  # type: ignore[arg-type]
        models: list[Model] = []

        def loading() -> Model:
            models.append(load() if load is not None else runtime.load(model_file))
            return models[-1]

        server, port, thread, _ = started(
            chosen, loading, Card(NAME, 1_700_000_000, digest="sha256:" + "a" * 64)
        )
        uri = f"http://127.0.0.1:{port}"
        client = httpx2.Client(base_url=uri, timeout=60)
        running.append((server, thread, client))
        while ready and client.get("/health").status_code != 200:
            pass
        return Served(server, client, models[0] if models else None, uri, port, lambda: not thread.is_alive())  # type: ignore[arg-type]

    yield begin
    for server, thread, client in running:
        client.close()
        for _ in range(2):
            if thread.is_alive():
                stop(server)
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def served(model_file: Path) -> Iterator[Served]:
    """One server for all tests of a module."""
    server, port, thread, _ = started(
        Settings(), lambda: runtime.load(model_file), Card(NAME, 1_700_000_000, digest="sha256:" + "a" * 64)
    )
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        while client.get("/health").status_code != 200:
            pass
        yield Served(
            server,
            client,
            server.service.model,
            f"http://127.0.0.1:{port}",
            port,
            lambda: not thread.is_alive(),
        )
    stop(server)
    thread.join(20)


@pytest.fixture(scope="module")
def alone(model_file: Path) -> Iterator[Model]:
    """The same model without a server: the expected answers."""
    with runtime.load(model_file) as model:
        yield model


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 20 ms, so that a job can be cancelled before it ends."""
    step = Model.step

    def slow(self: Model, ids: Any, cache: Any) -> Any:
        time.sleep(0.02)
        return step(self, ids, cache)

    monkeypatch.setattr(Model, "step", slow)
