"""`llorch-run serve`: its output, access, shutdown by signals, and its information about the model."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llorch import converter
from llorch.commands.run import main
from llorch.commands.serve.command import is_loopback
from llorch.registry import Registry
from tests.commands.conftest import invoke, started
from tests.models.gguf_writer import U32, one
from tests.models.tiny import random_llama

Process = subprocess.Popen[str]


@pytest.fixture
def served() -> Iterator[Any]:
    """Start servers, each in a process of its own; returns the process and its output when it was ready."""
    running: list[Process] = []

    def begin(*arguments: object, **environment: str) -> tuple[Process, dict[str, Any]]:
        process = started("run", "serve", *arguments, "--json", **environment)
        running.append(process)
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, process.communicate()
            text += line
        return process, json.loads(text)

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ended(process: Process) -> tuple[int, str]:
    """Wait for the server; return its exit status and its stderr."""
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


@pytest.mark.parametrize("format", ["file", "folder"])
def test_both_formats_say_what_generate_says(served: Any, source: Path, format: str) -> None:
    model = source
    if format == "folder":
        converter.convert(source, "made", dtype="float32")
        model = Path("made")
    expected = json.loads(invoke(main, "generate", model, "-p", "hello", "-n", "8", "--json").stdout)["text"]
    process, ready = served(model)
    assert set(ready) == {"schema", "uri", "model", "worker_id"}
    assert ready["uri"].startswith("http://127.0.0.1:")
    body = {"model": ready["model"], "prompt": "hello", "max_tokens": 8, "temperature": 0}
    answer = httpx2.post(f"{ready['uri']}/v1/completions", json=body, timeout=30).json()
    assert answer["choices"][0]["text"] == expected
    process.send_signal(signal.SIGTERM)
    code, errors = ended(process)
    assert code == 0, errors
    assert "POST /v1/completions 200" in errors


def test_the_name_is_the_files_unless_another_is_given(served: Any, source: Path) -> None:
    assert served(source)[1]["model"] == "Tiny.Q4"
    _, ready = served(source, "--served-model-name", "mine", "--worker-id", "w-7")
    assert (ready["model"], ready["worker_id"]) == ("mine", "w-7")
    assert httpx2.get(f"{ready['uri']}/v1/models").json()["data"][0]["id"] == "mine"


def test_a_person_is_told_where_it_is(source: Path) -> None:
    process = started("run", "serve", source)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("Tiny.Q4 is served at http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    assert ended(process)[0] == 0


def test_a_name_of_the_registry_is_served_with_what_is_recorded_of_it(served: Any, source: Path) -> None:
    from llorch.commands.convert import main as convert

    assert invoke(convert, source, "-o", "made", "--name", "mine").exit_code == 0
    _, ready = served("mine")
    until = time.monotonic() + 30
    while True:
        (model,) = httpx2.get(f"{ready['uri']}/v1/models").json()["data"]
        if model["digest"] or time.monotonic() > until:
            break
        time.sleep(0.05)
    with Registry("registry.db") as registry:
        recorded = registry.show("mine")
    assert model["id"] == "mine"
    assert model["digest"] == recorded.digest  # type: ignore[union-attr]
    assert (model["format"], model["architecture"]) == ("safetensors", "llama")
    assert model["verification"]["outcome"] == recorded.verified == "PASSED"  # type: ignore[union-attr]
    assert {"name", "status", "value"} <= set(model["verification"]["checks"][0])
    about = httpx2.get(f"{ready['uri']}/provenance").json()
    (origin,) = about["provenance"]["origins"]
    assert (origin["names"], len(origin["made_from"])) == (["mine@latest"], 1)
    assert str(Path.cwd()) not in json.dumps(about)


def test_a_name_that_nobody_knows_and_a_file_that_is_no_model_are_said_in_a_line(alone: Path) -> None:
    missing = invoke(main, "serve", "nowhere")
    assert missing.exit_code == 3
    assert missing.stderr.count("\n") == 1
    assert "nowhere" in missing.stderr
    Path("bad.gguf").write_bytes(b"GGUF")
    bad = invoke(main, "serve", "bad.gguf")
    assert (bad.exit_code, bad.stderr.count("\n")) == (3, 1)
    assert "bad.gguf" in bad.stderr


def test_another_address_needs_a_key(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        refused = invoke(main, "serve", source, "--host", host)
        assert refused.exit_code == 2
        assert "needs a key" in refused.stderr
    assert [is_loopback(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost")] == [True] * 4


def test_keys_come_from_a_file_or_the_environment_and_are_never_shown(served: Any, source: Path) -> None:
    Path("keys").write_text("sk-first\n\n  sk-second  \n")
    process, ready = served(source, "--host", "0.0.0.0", "--api-key-file", "keys", "--log-format", "json")
    uri = f"http://127.0.0.1:{ready['uri'].rpartition(':')[2]}"
    asked = [
        httpx2.get(f"{uri}/v1/models", headers={"authorization": f"Bearer {key}"})
        for key in ("sk-first", "sk-second", "no")
    ]
    assert [answer.status_code for answer in asked] == [200, 200, 401]
    assert httpx2.get(f"{uri}/health").status_code == 200
    process.send_signal(signal.SIGTERM)
    code, errors = ended(process)
    assert code == 0
    assert "sk-" not in errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert [line["status"] for line in lines if line.get("path") == "/v1/models"] == [200, 200, 401]
    assert all({"time", "level", "message"} <= set(line) for line in lines)
    _, ready = served(source, LLORCH_API_KEY="sk-third")
    assert httpx2.get(f"{ready['uri']}/v1/models").status_code == 401
    assert httpx2.get(f"{ready['uri']}/v1/models", headers={"x-api-key": "sk-third"}).status_code == 200


@pytest.mark.parametrize("logger", ["llorch.serving", "uvicorn.error", "asyncio"])
def test_what_a_library_beneath_has_to_say_has_the_servers_form(logger: str) -> None:
    code = "import logging, sys; from llorch.commands.serve.log import log_to_stderr; log_to_stderr('json'); "
    code += "logging.getLogger(sys.argv[1]).error('it\\nfailed')"
    done = subprocess.run([sys.executable, "-c", code, logger], capture_output=True, text=True, check=True)
    line = json.loads(done.stderr)
    assert (line["logger"], line["level"]) == (logger, "error")


@pytest.mark.parametrize("content", ["", "\n\n", "k" * 5000])
def test_a_key_file_without_a_key_is_refused(source: Path, content: str) -> None:
    Path("keys").write_text(content)
    refused = invoke(main, "serve", source, "--api-key-file", "keys")
    assert (refused.exit_code, refused.stderr.count("\n")) == (3, 1)
    assert "keys" in refused.stderr
    assert content.strip() == "" or content not in refused.stderr


def test_a_key_file_that_is_not_there_is_missing(source: Path) -> None:
    assert invoke(main, "serve", source, "--api-key-file", "nothing").exit_code == 3


def test_a_port_that_is_taken_is_said_in_a_line(source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = invoke(main, "serve", source, "--port", taken.getsockname()[1])
    assert (refused.exit_code, refused.stderr.count("\n")) == (5, 1)


def test_the_queue_and_the_slots_are_as_many_as_are_asked_for(served: Any, alone: Path) -> None:
    slow = random_llama(layers=8, width=256, feed_forward=1024).key("llama.context_length", one(U32, 4096))
    _, ready = served(slow.write(alone / "slow.gguf"), "--slots", "1", "--max-queue", "0")
    assert httpx2.get(f"{ready['uri']}/props").json()["total_slots"] == 1
    body = {"prompt": "hello", "n_predict": 4000, "ignore_eos": True, "stream": True}
    with httpx2.stream("POST", f"{ready['uri']}/completion", json=body, timeout=30) as first:
        lines = first.iter_lines()
        next(lines)
        second = httpx2.post(f"{ready['uri']}/completion", json=body, timeout=30)
    assert second.status_code == 429
    assert int(second.headers["retry-after"]) >= 1


def test_a_second_signal_ends_it_at_once_by_that_signal(served: Any, alone: Path) -> None:
    slow = random_llama(layers=8, width=256, feed_forward=1024).key("llama.context_length", one(U32, 4096))
    process, ready = served(slow.write(alone / "slow.gguf"))
    body = {"prompt": "hello", "n_predict": 4000, "ignore_eos": True, "stream": True}
    with httpx2.stream("POST", f"{ready['uri']}/completion", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert httpx2.get(f"{ready['uri']}/health").status_code == 503
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        came = sum(line.startswith("data: ") for line in lines)
    assert came < 3999  # it was cancelled in the middle
    assert ended(process)[0] == -signal.SIGTERM


@pytest.mark.slow  # it is tried for a quarter of a minute
def test_a_callback_that_nobody_hears_ends_it_with_a_line(source: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    process = started("run", "serve", source, "--callback-url", f"http://127.0.0.1:{port}/ready")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "the callback URL was not reached" in errors.splitlines()[-1]
    assert "Traceback" not in errors
