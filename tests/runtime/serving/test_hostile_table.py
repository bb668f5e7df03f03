"""The table of hostile clients in docs/serve.md is what a server does with them, in numbers, and it survives them all.

`python -m tests.runtime.serving.test_hostile_table` regenerates the table.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from llorch.runtime import Model
from llorch.runtime.serving import Limits
from tests.runtime.serving.conftest import NAME, Served, Start, wait_for

PAGE = Path(__file__).parents[3] / "docs" / "serve.md"
BEGIN, END = "<!-- hostile clients -->\n", "<!-- end of hostile clients -->\n"
# One connection more than the table says, for the test's own.
LIMITS = Limits(
    slots=4, max_queue=36, connections=251, head_s=0.6, body_s=0.6, write_s=0.5, send_buffer_bytes=4096
)
ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
WHOLE = b'"stop":true'
COMPLETION = json.dumps({"model": NAME, "prompt": "hello", "max_tokens": 2, "temperature": 0}).encode()
# An end token that the model samples would end the stream before the sockets are full.
ENDLESS = json.dumps(
    {"prompt": "hello", "n_predict": 1900, "n_probs": 20, "stream": True, "ignore_eos": True}
).encode()
CHUNKED = "transfer-encoding: chunked\r\n"


def head(line: str, *headers: str) -> bytes:
    """The request line and headers of a request, complete."""
    return "".join(f"{one}\r\n" for one in (line, "host: localhost", *headers, "")).encode()


def post(body: bytes, length: object = None, *more: str) -> bytes:
    """A request for a completion with this body."""
    promised = len(body) if length is None else length
    return (
        head("POST /v1/completions HTTP/1.1", f"content-length: {promised}", "connection: close", *more)
        + body
    )


def chunked(body: bytes) -> bytes:
    """A request for a completion with a body in chunks, or in what is sent as such."""
    return head("POST /v1/completions HTTP/1.1", "transfer-encoding: chunked", "connection: close") + body


@dataclass(frozen=True)
class Client:
    """What a client does, and how many of them do it. pieces: sent one after the other, `pause_s` seconds apart.

    head_s: how long the server waits for headers; all of `together` must have connected by then, on a busy machine too.
    """

    name: str
    count: int
    pieces: Sequence[bytes]
    expected: str
    pause_s: float = 0.0
    leaves: bool = False
    reads: bool = True
    together: bool = False
    head_s: float = LIMITS.head_s


# until sockets are full and their clients are dropped, on a machine that is busy with other things
BUSY_S = 60.0

CLIENTS = (
    Client("stops reading its stream",
        4, [head("POST /completion HTTP/1.1", f"content-length: {len(ENDLESS)}") + ENDLESS],
        "4 × 200, then cut", reads=False),
    Client("sends half a body and waits", 10, [post(b'{"model"', 1000)], "10 × 408"),
    Client("sends half a body and leaves", 20, [post(b'{"model"', 1000)], "20 × no answer", leaves=True),
    Client("promises a body by `expect: 100-continue` and sends none", 5,
           [post(b"", 1000, "expect: 100-continue")], "5 × 100, then 408"),
    Client("sends 10,000 headers", 10,
           [head("GET /health HTTP/1.1", *(f"x-{number}: v" for number in range(10_000)))], "10 × 431"),
    Client("sends a header of 1 MB", 5, [head("GET /health HTTP/1.1", f"x: {'v' * 1_000_000}")], "5 × 431"),
    Client("asks for a path of 1 MB", 5, [head(f"GET /{'a' * 1_000_000} HTTP/1.1")], "5 × 431"),
    Client("sends its headers byte by byte", 10, [b"GET /health HTTP/1.1\r\n", *[b"x: y\r\n"] * 40],
           "10 × 408", pause_s=0.05),
    Client("sends nothing at all", 10, [b""], "10 × 408"),
    Client("sends 100 MB", 3, [post(b"", 100_000_000), *[b" " * 1_000_000] * 100], "3 × 413"),
    Client("sends 100 MB in chunks", 3, [chunked(b""), *[b"f4240\r\n" + b" " * 1_000_000 + b"\r\n"] * 100],
           "3 × 413"),
    Client("promises 10³⁰ bytes", 5, [post(b"", 10**30)], "5 × 400"),
    Client("promises −1 bytes", 5, [post(b"", -1)], "5 × 400"),
    Client("promises two lengths", 5, [post(b"", 5, "content-length: 6")], "5 × 400"),
    Client("promises fewer bytes than it sends", 5, [post(COMPLETION, len(COMPLETION) - 5)], "5 × 400"),
    Client("promises more bytes than it sends", 5, [post(COMPLETION, len(COMPLETION) + 5)], "5 × 408"),
    Client("sends chunks whose size is no number", 10, [chunked(b"zz\r\nxx\r\n0\r\n\r\n")], "10 × 400"),
    Client("sends a chunk of 2⁶⁴ bytes and waits", 5, [chunked(b"ffffffffffffffff\r\n{")], "5 × 408"),
    Client("sends a chunk longer than it says", 5, [chunked(b"2\r\n{}{}{}\r\n0\r\n\r\n")], "5 × 400"),
    Client("names an encoding that there is not", 5,
           [head("POST /v1/completions HTTP/1.1", "transfer-encoding: gzip")], "5 × 501"),
    Client("sends what is no JSON", 20, [post(b'{"model": ')], "20 × 400"),
    Client("sends what is no UTF-8", 20, [post(b'{"model": "\xff\xfe"}')], "20 × 400"),
    Client("nests 100,000 lists", 5, [post(b"[" * 100_000)], "5 × 400"),
    Client("speaks TLS", 5, [bytes.fromhex("16030100f1010000ed0303") + bytes(200)], "5 × 400"),
    Client("sends 100 requests in one piece", 5, [head("GET /health HTTP/1.1") * 99
                                                  + head("GET /health HTTP/1.1", "connection: close")],
           "500 × 200"),
    Client("asks for a WebSocket", 5, [head("GET /health HTTP/1.1", "upgrade: websocket", "connection: upgrade",
                                            "sec-websocket-key: eA==", "sec-websocket-version: 13")], "5 × 200"),
    Client("is 200 at once, of which 40 have room", 200, [post(COMPLETION)], "40 × 200, 160 × 429",
           together=True),
    Client("opens 300 connections, of which 250 may be, and asks nothing", 300, [b""], "250 × 408, 50 × 503",
           together=True, head_s=4.0),
)  # fmt: skip


def outcome(served: Served, client: Client, opened: threading.Barrier | None) -> str | list[str]:
    """The statuses that one client is answered with, or what else happened to it, if that is to be reported."""
    connection = socket.socket()
    if not client.reads:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with connection, contextlib.suppress(ConnectionError):
        connection.settimeout(30)
        connection.connect(("127.0.0.1", served.port))
        if opened is not None:
            opened.wait(30)
        received = b""
        try:
            for piece in client.pieces:
                connection.sendall(piece)
                if client.pause_s:
                    time.sleep(client.pause_s)
        except ConnectionError:
            pass  # an answer may still arrive
        if client.leaves:
            return "no answer"
        if not client.reads:
            wait_for(lambda: counted(served, "generations", "cancelled") == client.count, BUSY_S)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while piece := connection.recv(65536):
                received += piece
                if b"upgrade: websocket" in client.pieces[0] and b'"ok"' in received:
                    break
        statuses = [status.decode() for status in ANSWER.findall(received)]
        if not client.reads:
            return f"{statuses[0]}, then {'whole' if WHOLE in received else 'cut'}"
        return ", then ".join(statuses) if "100" in statuses else statuses
    return "reset"


def counts(served: Served, client: Client) -> str:
    """How often each outcome occurred, in the table's words."""
    together = client.together or not client.reads
    opened = threading.Barrier(client.count) if client.together else None
    found: list[str | list[str]] = ["nothing"] * client.count

    def one(index: int) -> None:
        found[index] = outcome(served, client, opened)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(client.count)]
    for begun in range(0, client.count, client.count if together else 5):
        some = threads[begun : begun + (client.count if together else 5)]
        for thread in some:
            thread.start()
        for thread in some:
            thread.join(2 * BUSY_S)
    every: list[str] = []
    for each in found:
        every += [each] if isinstance(each, str) else each
    return ", ".join(f"{count} × {what}" for what, count in sorted(Counter(every).items()))


def rows() -> Iterable[str]:
    """The rows of the table in the page."""
    yield "| a client that … | clients | is answered |\n"
    yield "| --- | ---: | --- |\n"
    for client in CLIENTS:
        yield f"| {client.name} | {client.count} | {client.expected} |\n"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_each_client_gets_its_answer_and_the_server_survives(
    start: Start, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start(limits=replace(LIMITS, head_s=client.head_s))
    if client.together and client.pieces[0]:
        hold_steps(monkeypatch, served, until_refused=160)
    assert counts(served, client) == client.expected
    wait_for(lambda: not served.server.service.running and not served.server.service.waiting)
    assert served.client.get("/health").json() == {"status": "ok"}
    assert served.complete(max_tokens=2)["usage"]["completion_tokens"] == 2  # type: ignore[index]


def hold_steps(monkeypatch: pytest.MonkeyPatch, served: Served, *, until_refused: int) -> None:
    """Compute no step before this many requests were rejected: who gets a slot must not depend on speed."""
    step = Model.step

    def held(self: Model, ids: Any, cache: Any) -> Any:
        wait_for(lambda: counted(served, "http_responses", "429") >= until_refused)
        return step(self, ids, cache)

    monkeypatch.setattr(Model, "step", held)


def counted(served: Served, name: str, label: str) -> int:
    """Sum of a counter in the server's metrics over all series with this label."""
    lines = served.server.service.metrics.page()[0].decode().splitlines()
    return sum(
        int(float(line.split()[-1]))
        for line in lines
        if line.startswith(f"llorch_{name}_total") and f'"{label}"' in line
    )


def test_the_page_has_the_table() -> None:
    assert "".join(rows()) in PAGE.read_text(encoding="utf-8")


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{''.join(rows())}\n{END}{after}", encoding="utf-8")
