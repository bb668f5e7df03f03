"""The worker's endpoints: bounds, the effect of each field, the order of events, cancelling, the callback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from llorch.runtime import Model, Sampling
from llorch.runtime.serving import Limits
from tests.runtime.serving.conftest import NAME, Served, Start, wait_for

Events = list[tuple[str, dict[str, Any]]]


def parsed(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, document) of each event, as they arrive."""
    name = ""
    for line in lines:
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def execute(served: Served, job_id: str = "job", **fields: object) -> Events:
    """All events of a job, greedy by default."""
    body = {"job_id": job_id, "prompt": "hello", "max_tokens": 12, "temperature": 0, **fields}
    with served.client.stream("POST", "/execute", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        return list(parsed(answer.iter_lines()))


def text_of(events: Events) -> str:
    return "".join(document["t"] for name, document in events if name == "token")


def require_order(events: Events) -> None:
    """started, tokens, metrics, then exactly one of end and error; each document names its own type."""
    names = [name for name, _ in events]
    assert names[0] == "started"
    assert names[-1] in ("end", "error")
    assert names.count("started") == names.count("end") + names.count("error") == 1
    inner = names[1:-1]
    assert inner == ["token"] * inner.count("token") + ["metrics"] * inner.count("metrics")
    assert inner.count("metrics") == (names[-1] == "end")
    assert all(document["type"] == name for name, document in events)
    places = [document["i"] for name, document in events if name == "token"]
    assert places == sorted(set(places))


def test_a_jobs_events_run_from_its_start_to_its_end(served: Served, alone: Model) -> None:
    events = execute(served)
    require_order(events)
    assert events[0][1].items() >= {"job_id": "job", "model": NAME}.items()
    assert text_of(events) == alone.generate("hello", max_new_tokens=12).text
    end = events[-1][1]
    assert (end["tokens_out"], end["stop_reason"]) == (12, "MAX_TOKENS")
    assert end["decode_time_ms"] >= 0
    metrics = events[-2][1]
    assert metrics["tokens_per_sec"] > 0
    assert metrics["vram_bytes"] == 0  # a CPU has none


def test_max_tokens_limits_the_answer(served: Served) -> None:
    assert [execute(served, max_tokens=n)[-1][1]["tokens_out"] for n in (1, 5)] == [1, 5]


def test_a_stop_sequence_ends_it_and_is_named(served: Served, alone: Model) -> None:
    whole = alone.generate("hello", max_new_tokens=40).text
    stop = whole[5:7]
    events = execute(served, max_tokens=40, stop=["\x00", stop])
    assert text_of(events) == whole[: whole.index(stop)]
    assert events[-1][1].items() >= {"stop_reason": "STOP_SEQUENCE", "stop_sequence_matched": stop}.items()


def test_an_end_token_ends_it(served: Served, alone: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    free = alone.generate("hello", max_new_tokens=8)
    monkeypatch.setattr(Model, "end_ids", (free.ids[3],))
    end = execute(served)[-1][1]
    assert (end["stop_reason"], end["tokens_out"]) == ("EOS", free.ids.index(free.ids[3]))
    assert "stop_sequence_matched" not in end


def test_the_temperature_and_the_seed_reach_the_sampling(served: Served, alone: Model) -> None:
    texts = [text_of(execute(served, temperature=1.5, seed=seed)) for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    assert (
        texts[0]
        == alone.generate("hello", max_new_tokens=12, sampling=Sampling(temperature=1.5, seed=3)).text
    )
    unseeded = {text_of(execute(served, temperature=1.5, max_tokens=24)) for _ in range(3)}
    assert len(unseeded) > 1


@pytest.mark.parametrize("narrow", [{"top_p": 0.0}, {"top_k": 1}, {"min_p": 1.0}], ids=str)
def test_the_filters_reach_the_sampling(served: Served, narrow: dict[str, Any]) -> None:
    greedy = text_of(execute(served))
    assert text_of(execute(served, temperature=1.5, seed=3)) != greedy
    assert text_of(execute(served, temperature=1.5, seed=3, **narrow)) == greedy


def test_the_repetition_penalty_reaches_the_sampling(served: Served, alone: Model) -> None:
    expected = alone.generate("hello", max_new_tokens=40, sampling=Sampling(repetition_penalty=2.0)).text
    assert text_of(execute(served, max_tokens=40, repetition_penalty=2.0)) == expected
    assert expected != alone.generate("hello", max_new_tokens=40).text


GOOD: dict[str, object] = {"job_id": "j", "prompt": "hello", "max_tokens": 1}
BAD: list[tuple[str, object, str]] = [
    ("job_id", "", "length(1..=256)"),
    ("job_id", 5, "length(1..=256)"),
    ("prompt", "", "length(1..=32768)"),
    ("prompt", "é" * 32_769, "length(1..=32768)"),
    ("max_tokens", 0, "range(1..=2048)"),
    ("max_tokens", 2049, "range(1..=2048)"),
    ("max_tokens", 1.5, "range(1..=2048)"),
    ("temperature", -0.1, "range(0.0..=2.0)"),
    ("temperature", 2.1, "range(0.0..=2.0)"),
    ("seed", -1, "range(0..=18446744073709551615)"),
    ("seed", 2**64, "range(0..=18446744073709551615)"),
    ("top_p", 1.1, "range(0.0..=1.0)"),
    ("top_k", -1, "range(0..=4294967295)"),
    ("repetition_penalty", 0, "range(0.0<..=2.0)"),
    ("repetition_penalty", 2.1, "range(0.0<..=2.0)"),
    ("stop", ["a"] * 5, "max_count(4), length(1..=100 bytes)"),
    ("stop", ["é" * 51], "max_count(4), length(1..=100 bytes)"),
    ("stop", [""], "max_count(4), length(1..=100 bytes)"),
    ("min_p", 1.1, "range(0.0..=1.0)"),
    ("nonsense", 1, "known"),
]


@pytest.mark.parametrize(("field", "value", "constraint"), BAD, ids=lambda value: str(value)[:20])
def test_a_field_out_of_its_bounds_is_named(
    served: Served, field: str, value: object, constraint: str
) -> None:
    answer = served.post("/execute", **{**GOOD, field: value})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["field"], error["constraint"]) == (field, constraint)
    assert error["message"].startswith(f"{field}: ")
    assert ("value" in error) == (field not in ("prompt", "stop"))


def test_the_bounds_themselves_are_accepted(served: Served) -> None:
    least = {
        "temperature": 0,
        "seed": 0,
        "top_p": 0,
        "top_k": 0,
        "repetition_penalty": 0.1,
        "stop": [],
        "min_p": 0,
    }
    most = {
        "temperature": 2,
        "seed": 2**64 - 1,
        "top_p": 1,
        "top_k": 2**32 - 1,
        "repetition_penalty": 2,
        "min_p": 1,
    }
    for fields in (least, {**most, "stop": ["é" * 50] * 4}):
        require_order(execute(served, job_id="x" * 256, max_tokens=1, **fields))


def test_all_errors_are_reported_at_once_in_the_order_of_the_fields(served: Served) -> None:
    wrong = {field: value for field, value, _ in BAD if field != "nonsense"}
    errors = served.post("/execute", **wrong).json()["errors"]
    assert [error["field"] for error in errors] == list(wrong)
    missing = served.post("/execute").json()["errors"]
    assert [(error["field"], error["constraint"]) for error in missing] == [
        (field, "required") for field in ("job_id", "prompt", "max_tokens")
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"job_id": NaN}'], ids=repr)
def test_a_body_that_is_not_an_object_is_an_error_in_the_same_form(served: Served, body: bytes) -> None:
    answer = served.client.post("/execute", content=body)
    assert answer.status_code == 400
    assert all(set(error) >= {"field", "constraint", "message"} for error in answer.json()["errors"])


def test_a_prompt_that_the_context_cannot_hold_is_refused_by_name(served: Served) -> None:
    answer = served.post("/execute", job_id="j", prompt="x " * 1500, max_tokens=2048)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"], error["constraint"]) == (400, "max_tokens", "context")
    assert "2,048" in error["message"]


def test_a_running_job_is_cancelled_by_its_name(served: Served, slow_steps: None) -> None:
    with served.client.stream(
        "POST", "/execute", json={**GOOD, "job_id": "long", "max_tokens": 2000}
    ) as answer:
        events = []
        for event in parsed(answer.iter_lines()):
            events.append(event)
            if len(events) == 3:
                assert served.post("/cancel", job_id="long").status_code == 202
    require_order(events)
    assert events[-1][1]["stop_reason"] == "CANCELLED"
    assert events[-1][1]["tokens_out"] < 2000
    assert served.server.service.running == 0


def test_cancelling_is_idempotent_even_for_unknown_jobs(served: Served) -> None:
    for _ in range(2):
        answer = served.post("/cancel", job_id="nobody")
        assert (answer.status_code, answer.json()) == (202, {"job_id": "nobody"})
    assert served.post("/cancel").status_code == 400


def test_a_waiting_job_is_cancelled_without_a_step_and_its_events_are_in_order(
    start: Start, slow_steps: None
) -> None:
    served = start(limits=Limits(slots=1))
    with served.client.stream(
        "POST", "/execute", json={**GOOD, "job_id": "first", "max_tokens": 2000}
    ) as first:
        running = parsed(first.iter_lines())
        next(running)
        found: Events = []
        waiting = threading.Thread(target=lambda: found.extend(execute(served, job_id="second")))
        waiting.start()
        wait_for(lambda: served.server.service.waiting == 1)
        assert served.post("/cancel", job_id="second").status_code == 202
        waiting.join(10)
        served.post("/cancel", job_id="first")
        list(running)
    require_order(found)
    assert (found[-1][1]["stop_reason"], found[-1][1]["tokens_out"]) == ("CANCELLED", 0)


def test_two_jobs_of_one_name_are_not_run_at_once_and_the_name_is_free_again(
    served: Served, slow_steps: None
) -> None:
    with served.client.stream(
        "POST", "/execute", json={**GOOD, "job_id": "twin", "max_tokens": 2000}
    ) as answer:
        events = parsed(answer.iter_lines())
        next(events)
        second = served.post("/execute", **{**GOOD, "job_id": "twin"})
        assert second.status_code == 400
        assert second.json()["errors"][0]["constraint"] == "unique"
        served.post("/cancel", job_id="twin")
        list(events)
    wait_for(lambda: "twin" not in served.server.service.named)
    require_order(execute(served, job_id="twin"))


def test_a_step_that_fails_is_an_error_event_of_that_job_alone(
    served: Served, alone: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Model.step

    def failing(self: Model, ids: Any, cache: Any) -> Any:
        if len(ids) == 1 and cache.length == bad and self is served.model:
            raise RuntimeError("secret: /home/somebody/model.gguf")
        return step(self, ids, cache)

    bad = len(alone.tokenizer.encode("hello hello hello").ids) + 3
    expected = alone.generate("hi", max_new_tokens=4).text
    monkeypatch.setattr(Model, "step", failing)
    events = execute(served, prompt="hello hello hello")
    require_order(events)
    assert events[-1] == (
        "error",
        {"type": "error", "code": "INFERENCE_FAILED", "message": "the model failed on this request"},
    )
    assert text_of(execute(served, prompt="hi", max_tokens=4)) == expected
    assert served.server.service.running == 0


def test_running_out_of_memory_has_its_own_code(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: Model, ids: Any, cache: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Model, "step", failing)
    assert execute(served)[-1][1]["code"] == "VRAM_OOM"


class CallbackListener(HTTPServer):
    """A listener for callbacks. statuses: of its responses in order, the last one repeated."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = list(statuses)
        self.said: list[tuple[str, Any, int]] = []
        self.served: Served | None = None
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/ready"


class Handler(BaseHTTPRequestHandler):
    server: CallbackListener

    def do_POST(self) -> None:
        import httpx2

        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        health = httpx2.get(
            f"{body['uri']}/health"
        ).status_code  # it must be listening before it reports that
        self.server.said.append((self.path, body, health))
        status = self.server.statuses.pop(0) if len(self.server.statuses) > 1 else self.server.statuses[0]
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def heard() -> Iterator[Any]:
    made: list[CallbackListener] = []

    def listen(*statuses: int) -> CallbackListener:
        made.append(CallbackListener(*statuses))
        return made[-1]

    yield listen
    for one in made:
        one.shutdown()
        one.server_close()


def test_the_callback_is_called_once_the_worker_serves(start: Start, heard: Any) -> None:
    listener = heard(200)
    served = start(callback_url=listener.url, worker_id="w-1")
    wait_for(lambda: listener.said)
    assert listener.said == [("/ready", {"worker_id": "w-1", "vram_bytes": 0, "uri": served.uri}, 200)]


def test_the_callback_is_retried_until_it_succeeds(
    start: Start, heard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llorch.runtime.serving.callback.FIRST_WAIT_S", 0.01)
    listener = heard(503, 500, 200)
    start(callback_url=listener.url)
    wait_for(lambda: len(listener.said) == 3)


@pytest.mark.parametrize("status", [404, 500])
def test_a_failing_callback_ends_the_server(
    start: Start, heard: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("llorch.runtime.serving.callback.FIRST_WAIT_S", 0.01)
    listener = heard(status)
    served = start(callback_url=listener.url, ready=False)
    wait_for(served.stopped)
    assert len(listener.said) == (1 if status == 404 else 6)
