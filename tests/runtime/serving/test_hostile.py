"""Misbehaving clients (half bodies, huge ones, floods, silence) get the right status, and the server survives."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from llorch.runtime import Model
from llorch.runtime.serving import Keys, Limits
from tests.runtime.serving.conftest import NAME, Served, Start, stop, wait_for

CHAT = {"model": NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, "temperature": 0}


def raw(served: Served, data: bytes, *, seconds: float = 20.0) -> bytes:
    """Send this on a connection; return all that is received until it is closed."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=seconds) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def request(
    path: str = "/v1/chat/completions", body: bytes = b"", *, length: int | None = None, more: str = ""
) -> bytes:
    size = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {size}\r\nconnection: close\r\n{more}\r\n"
    return head.encode() + body


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def error_of(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    found: dict[str, Any] = json.loads(body.split(b"\r\n")[1] if b"chunked" in head.lower() else body)[
        "error"
    ]
    return found


def require_alive(served: Served) -> None:
    """The server still answers promptly and correctly, and no slot is lost."""
    wait_for(lambda: not served.server.service.running and not served.server.service.waiting)
    assert served.client.get("/health").json() == {"status": "ok"}
    assert served.chat(max_tokens=2)["usage"]["completion_tokens"] == 2  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe\xfd", b'{"model": "\xed\xa0\x80"}', b'{"model": "\\ud800"}',
     b"[" * 100_000, b'{"a":' * 100_000, b'{"temperature": NaN}', b"{} {}", b"\xef\xbb\xbf{}", b"9" * 100_000],
    ids=lambda body: repr(body[:16]),
)  # fmt: skip
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/completion", "/tokenize", "/execute"]
)
def test_an_invalid_request_is_400(served: Served, path: str, body: bytes) -> None:
    answer = served.client.post(path, content=body)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/json"
    require_alive(served)


def test_half_a_body_and_then_nothing_is_408(start: Start) -> None:
    served = start(limits=Limits(body_s=0.3))
    answer = raw(served, request(body=b'{"model"', length=1000))
    assert (status_of(answer), error_of(answer)["code"]) == (408, "request_timeout")
    require_alive(served)


def test_half_a_body_and_a_closed_connection_leave_nothing_behind(served: Served) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.sendall(request(body=b'{"model"', length=1000))
    require_alive(served)


@pytest.mark.parametrize("sent", [b"", b"POST /v1/ch", b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: "], ids=repr)
def test_headers_that_do_not_come_are_408(start: Start, sent: bytes) -> None:
    served = start(limits=Limits(head_s=0.3))
    answer = raw(served, sent)
    assert status_of(answer) == 408
    require_alive(served)


def test_headers_that_trickle_are_not_waited_for(start: Start) -> None:
    served = start(limits=Limits(head_s=0.4))
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\n")
        answer, begun = b"", time.monotonic()
        connection.settimeout(0.05)
        while time.monotonic() - begun < 8:
            try:
                connection.sendall(b"x: y\r\n")
                piece = connection.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                break
            answer += piece
            if not piece or answer:
                break
    assert status_of(answer) == 408
    require_alive(served)


def test_a_second_request_on_a_connection_has_its_time_too(start: Start) -> None:
    served = start(limits=Limits(head_s=0.3, keep_alive_s=30))
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        answer = b""
        while b'"ok"' not in answer:  # head and body may arrive separately
            answer += connection.recv(65536)
        connection.sendall(b"GET /health HTTP/1.1\r\nx: ")
        assert status_of(connection.recv(65536)) == 408


@pytest.mark.parametrize("size", [1, 100])
def test_ten_thousand_headers_are_431(served: Served, size: int) -> None:
    headers = "".join(f"x-{i}: {'v' * size}\r\n" for i in range(10_000))
    answer = raw(served, f"GET /health HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n".encode())
    assert status_of(answer) == 431
    require_alive(served)


def test_too_many_headers_are_431_even_if_they_are_small(served: Served) -> None:
    headers = {f"x-{i}": "v" for i in range(101)}
    assert served.client.get("/health", headers=headers).status_code == 431
    assert served.client.get("/health", headers={f"x-{i}": "v" for i in range(80)}).status_code == 200


@pytest.mark.parametrize("length", [True, False], ids=["content-length", "chunked"])
def test_a_hundred_megabytes_are_413(served: Served, length: bool) -> None:
    def pieces() -> Any:
        for _ in range(100):
            yield b" " * 1_000_000

    headers = {"content-length": "100000000"} if length else {}
    answer = served.client.post("/v1/chat/completions", content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    require_alive(served)


def test_a_body_that_is_promised_too_large_is_413_before_it_comes(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(request(length=10**9))
        assert status_of(connection.recv(65536)) == 413


@pytest.mark.parametrize(
    "line", ["GET", "GET /", "\x00\x01\x02", "GET / HTTP/1.1\r\ncontent-length: -1",
             "GET / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6", "POST / HTTP/1.1\r\ntransfer-encoding: gzip"],
    ids=repr,
)  # fmt: skip
def test_data_that_is_not_http_is_refused(served: Served, line: str) -> None:
    answer = raw(served, f"{line}\r\nhost: localhost\r\n\r\n".encode())
    assert status_of(answer) in (400, 501, 505)
    require_alive(served)


def test_an_unknown_path_is_404_and_a_wrong_method_405(served: Served) -> None:
    assert served.client.get("/nowhere").json()["error"]["code"] == "not_found"
    wrong = served.client.get("/v1/chat/completions")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"] == "POST"
    for path in ("/../../etc/passwd", "/page.js/../../settings.py", "/%2e%2e/settings.py", "//etc/passwd"):
        assert served.client.get(path).status_code == 404


def read_to_the_end(connection: socket.socket) -> bytes:
    """All that is still received, whether the connection is then closed or reset."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            found += piece
    return found


def reading_little(served: Served, path: str, body: dict[str, object]) -> socket.socket:
    """A connection that requests a stream and does not read it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", served.port))
    connection.sendall(request(path, json.dumps(body).encode()))
    return connection


def test_a_client_that_does_not_read_is_dropped_and_its_slot_is_free(start: Start) -> None:
    served = start(limits=Limits(write_s=0.5, slots=1, send_buffer_bytes=4096))
    body = {"prompt": "hello", "n_predict": 1900, "n_probs": 20, "stream": True, "ignore_eos": True}
    with reading_little(served, "/completion", body) as connection:
        wait_for(lambda: served.server.service.running)
        require_alive(served)
        connection.settimeout(20)
        assert b'"stop":true' not in read_to_the_end(connection)  # the rest was discarded


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/execute", "/completion"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot_within_a_step(
    served: Served, monkeypatch: pytest.MonkeyPatch, path: str, stream: bool
) -> None:
    steps: list[float] = []
    step = Model.step

    def slow(self: Model, ids: Any, cache: Any) -> Any:
        steps.append(time.monotonic())
        time.sleep(0.02)
        return step(self, ids, cache)

    monkeypatch.setattr(Model, "step", slow)
    bodies: dict[str, dict[str, object]] = {
        "/v1/chat/completions": {**CHAT, "max_tokens": 1500, "stream": stream},
        "/completion": {"prompt": "hello", "n_predict": 1500, "stream": stream, "ignore_eos": True},
        "/execute": {"job_id": "gone", "prompt": "hello", "max_tokens": 1500},
    }
    connection = socket.create_connection(("127.0.0.1", served.port))
    connection.sendall(request(path, json.dumps(bodies[path]).encode()))
    wait_for(lambda: len(steps) >= 3)
    connection.close()
    gone = time.monotonic()
    wait_for(lambda: not served.server.service.running)
    late = [at for at in steps if at > gone]
    assert len(late) <= 3  # those already begun, and those before the event loop notices
    monkeypatch.undo()
    require_alive(served)


def test_nothing_is_written_to_a_client_that_went_away(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even of what came while the event loop was busy; asyncio warns of what is written to a lost connection."""
    served, leave = start(), threading.Event()
    body = {"prompt": "hello", "n_predict": 600, "ignore_eos": True, "stream": True}
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        # closing resets it
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(request("/completion", json.dumps(body).encode()))
        assert status_of(connection.recv(65536)) == 200
        served.server.loop.call_soon_threadsafe(leave.wait, 20)  # type: ignore[attr-defined]
        wait_for(lambda: not served.server.service.running)
    leave.set()
    require_alive(served)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_the_health_is_told_at_once_during_a_long_prompt(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Model.step
    inside, leave = threading.Event(), threading.Event()

    def held(self: Model, ids: Any, cache: Any) -> Any:
        inside.set()
        assert leave.wait(20)
        return step(self, ids, cache)

    monkeypatch.setattr(Model, "step", held)
    body = {**CHAT, "messages": [{"role": "user", "content": "hello " * 200}]}
    answers: list[httpx2.Response] = []
    asking = threading.Thread(
        target=lambda: answers.append(served.client.post("/v1/chat/completions", json=body))
    )
    asking.start()
    assert inside.wait(20)
    assert httpx2.get(f"{served.uri}/health").status_code == 200
    assert httpx2.get(f"{served.uri}/v1/models").status_code == 200
    assert asking.is_alive()
    leave.set()
    asking.join(20)
    assert answers[0].status_code == 200


def at_once(count: int, ask: Callable[[int], int]) -> Counter[int]:
    """The statuses of this many concurrent requests."""
    statuses: list[int] = [0] * count
    together = threading.Barrier(count)

    def one(index: int) -> None:
        together.wait()
        statuses[index] = ask(index)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    return Counter(statuses)


def test_of_two_hundred_at_once_slots_and_queue_are_served(start: Start) -> None:
    served = start(limits=Limits(slots=4, max_queue=36))

    body = json.dumps({"model": NAME, "prompt": "hello", "max_tokens": 40, "temperature": 0}).encode()
    expected = served.complete("hello", max_tokens=40)["choices"]

    def ask(_: int) -> int:
        answer = raw(served, request("/v1/completions", body), seconds=100)
        status = status_of(answer)
        if status == 429:
            (after,) = (line for line in answer.split(b"\r\n") if line.startswith(b"retry-after: "))
            assert 1 <= int(after.removeprefix(b"retry-after: ")) <= 60
            assert error_of(answer)["type"] == "rate_limit_error"
        elif status == 200:
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["choices"] == expected
        return status

    counts = at_once(200, ask)
    assert set(counts) == {200, 429}
    assert counts[200] >= 40
    require_alive(served)


def test_connections_beyond_the_bound_are_503_and_the_others_are_served(start: Start) -> None:
    served = start(limits=Limits(connections=20))
    held = [socket.create_connection(("127.0.0.1", served.port), timeout=10) for _ in range(40)]
    until = time.monotonic() + 10
    refused = 0
    for connection in held:
        connection.setblocking(False)
    while refused < 20 and time.monotonic() < until:
        for connection in held:
            try:
                refused += connection.recv(65536).startswith(b"HTTP/1.1 503")
            except BlockingIOError:
                continue
        time.sleep(0.02)
    assert refused >= 20
    for connection in held:
        connection.close()
    time.sleep(0.2)
    require_alive(served)


def test_before_the_model_is_loaded_everything_but_the_page_is_503(start: Start, model_file: Any) -> None:
    from llorch import runtime

    leave = threading.Event()

    def load() -> Model:
        assert leave.wait(20)
        return runtime.load(model_file)

    served = start(load, ready=False)
    for answer in (
        served.client.get("/health"),
        served.client.post("/v1/chat/completions", json=CHAT),
        served.client.get("/props"),
        served.post("/execute", job_id="j", prompt="x", max_tokens=1),
        served.post("/tokenize", content="x"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "loading")
        assert int(answer.headers["retry-after"]) >= 1
    assert served.client.get("/").status_code == 200
    leave.set()
    wait_for(lambda: served.client.get("/health").status_code == 200)


def test_a_draining_server_completes_its_requests_and_takes_no_new_ones(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = start(limits=Limits(slots=1))
    step, leave = Model.step, threading.Event()

    def held(self: Model, ids: Any, cache: Any) -> Any:
        assert leave.wait(20)
        return step(self, ids, cache)

    monkeypatch.setattr(Model, "step", held)
    bodies: list[bytes] = []

    def ask() -> None:
        with served.client.stream(
            "POST", "/v1/chat/completions", json={**CHAT, "max_tokens": 40, "stream": True}
        ) as answer:
            bodies.append(answer.read())

    asking = [threading.Thread(target=ask) for _ in range(2)]  # one runs, one waits
    for one in asking:
        one.start()
    wait_for(lambda: (served.server.service.running, served.server.service.waiting) == (1, 1))
    stop(served.server)
    wait_for(lambda: served.server.service.state == "draining")
    for answer in (
        httpx2.get(f"{served.uri}/health"),
        httpx2.post(f"{served.uri}/v1/chat/completions", json=CHAT),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
    leave.set()
    for one in asking:
        one.join(60)
    assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)
    assert len(bodies) == 2
    wait_for(served.stopped)


def test_draining_twice_ends_at_once(start: Start, slow_steps: None) -> None:
    served = start()
    with served.client.stream(
        "POST", "/execute", json={"job_id": "j", "prompt": "hello", "max_tokens": 1900}
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        stop(served.server)
        stop(served.server)
        rest = "\n".join(lines)
    assert '"CANCELLED"' in rest
    wait_for(served.stopped)


KEY = "sk-a-secret-key"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": f"Basic {KEY}"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": b"Bearer \xff\xfe"}, 401),
        ({"authorization": f"Bearer {KEY}"}, 200),
        ({"authorization": f"bearer   {KEY}"}, 200),
        ({"x-api-key": KEY}, 200),
        ({"authorization": "Bearer another"}, 200),
    ],
)
def test_a_key_is_required_if_keys_are_set(
    start: Start, caplog: pytest.LogCaptureFixture, headers: dict[str, Any], status: int
) -> None:
    served = start(keys=Keys([KEY, "another"]), hosts=None)
    caplog.set_level("DEBUG")
    for method, path in (
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
        ("GET", "/props"),
        ("GET", "/provenance"),
        ("GET", "/openapi.json"),
    ):
        answer = served.client.request(method, path, headers=headers)
        assert answer.status_code == status, path
    if status == 401:
        assert served.post("/v1/chat/completions", **CHAT).json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["type"] == "authentication_error"
    for path in ("/health", "/", "/page.js", "/page.css"):
        assert served.client.get(path).status_code == 200
    assert KEY not in caplog.text
    assert KEY not in repr(served.server.service.settings)


def test_a_strangers_page_is_refused(served: Served) -> None:
    own = f"http://127.0.0.1:{served.port}"
    assert served.client.get("/v1/models", headers={"origin": own}).status_code == 200
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", own + ".evil.example"):
        answer = served.client.post("/v1/chat/completions", json=CHAT, headers={"origin": origin})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "wrong_origin")
        assert "access-control-allow-origin" not in answer.headers
    rebound = served.client.get("/v1/models", headers={"host": f"evil.example:{served.port}"})
    assert (rebound.status_code, rebound.json()["error"]["code"]) == (403, "wrong_host")
    for host in (f"localhost:{served.port}", f"[::1]:{served.port}", "127.0.0.1"):
        assert served.client.get("/health", headers={"host": host}).status_code == 200
    preflight = served.client.options(
        "/v1/chat/completions", headers={"origin": own, "access-control-request-method": "POST"}
    )
    assert preflight.status_code == 405
    assert not [name for name in preflight.headers if name.startswith("access-control")]


def test_an_unexpected_error_is_500_without_its_text(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/home/somebody/secret")

    monkeypatch.setattr("llorch.runtime.serving.prompts.chat", broken)
    answer = served.post("/v1/chat/completions", **CHAT)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    assert "secret" not in answer.text
    assert "/home/somebody/secret" in caplog.text
    monkeypatch.undo()
    require_alive(served)


def test_nothing_that_a_user_wrote_is_logged(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    served.chat("a private matter", max_tokens=3)
    served.client.get("/private/path?a=private")
    served.post("/execute", job_id="private", prompt="private", max_tokens=0)
    assert "private" not in "".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("llorch", "uvicorn"))
    )
