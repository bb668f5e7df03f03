"""Real clients, unmodified: the openai package, httpx, simonw's llm, curl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llorch import runtime
from llorch.runtime import Chat, Model
from llorch.runtime.serving import Keys, Limits
from tests.runtime.serving.conftest import NAME, Served, Start

KEY = "sk-test"
QUESTION = "hello, who are you?"


@pytest.fixture
def keyed(start: Start) -> Served:
    """A server that requires a key."""
    return start(keys=Keys([KEY]), hosts=None)


@pytest.fixture
def expected(alone: Model) -> str:
    return "".join(Chat(alone).ask(QUESTION, max_new_tokens=16))


def openai_client(uri: str) -> Any:
    openai = pytest.importorskip("openai", reason="the package openai is not installed")
    return openai.OpenAI(base_url=f"{uri}/v1", api_key=KEY, max_retries=0, timeout=60)


def ask(client: Any, model: str = NAME, **fields: object) -> Any:
    messages = [{"role": "user", "content": QUESTION}]
    return client.chat.completions.create(
        **{"model": model, "messages": messages, "temperature": 0, "max_tokens": 16, **fields}
    )


def test_the_openai_client_gets_whole_and_streamed_answers(keyed: Served, expected: str) -> None:
    client = openai_client(keyed.uri)
    whole = ask(client)
    assert whole.choices[0].message.content == expected
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 16
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected
    assert chunks[-1].usage == whole.usage


def test_openai_reads_the_models_the_log_probabilities_and_completions(keyed: Served, alone: Model) -> None:
    client = openai_client(keyed.uri)
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).digest == "sha256:" + "a" * 64
    content = ask(client, logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert len(content) == 16
    assert content[0].top_logprobs[0].logprob == content[0].logprob
    completion = client.completions.create(
        model=NAME, prompt="hello", max_tokens=6, temperature=0, logprobs=1
    )
    assert completion.choices[0].text == alone.generate("hello", max_new_tokens=6).text
    assert len(completion.choices[0].logprobs.token_logprobs) == 6


def test_openai_knows_our_errors(keyed: Served, start: Start, slow_steps: None) -> None:
    import openai

    client = openai_client(keyed.uri)
    with pytest.raises(openai.NotFoundError) as missing:
        ask(client, model="other")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        ask(client, logit_bias={"5": 1})
    assert wrong.value.param == "logit_bias"
    with pytest.raises(openai.BadRequestError) as long:
        ask(client, max_tokens=10**6)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.AuthenticationError):
        ask(client.with_options(api_key="wrong"))
    full = start(limits=Limits(slots=1, max_queue=0))
    second = openai_client(full.uri)
    with full.client.stream(
        "POST", "/completion", json={"prompt": "hello", "n_predict": 1900, "ignore_eos": True, "stream": True}
    ) as running:
        lines = running.iter_lines()  # kept: httpx closes the connection when the iterator is deleted
        next(lines)
        with pytest.raises(openai.RateLimitError):
            ask(second)


def test_openai_may_close_a_stream_early(keyed: Served) -> None:
    client = openai_client(keyed.uri)
    with ask(client, stream=True, max_tokens=1500) as stream:
        next(iter(stream))
    from tests.runtime.serving.conftest import wait_for

    wait_for(lambda: keyed.server.service.running == 0)


def test_httpx_streams(keyed: Served, expected: str) -> None:
    httpx = pytest.importorskip("httpx", reason="the package httpx is not installed")
    body = {
        "model": NAME,
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 16,
    }
    headers = {"authorization": f"Bearer {KEY}"}
    said = ""
    with httpx.stream(
        "POST", f"{keyed.uri}/v1/chat/completions", json={**body, "stream": True}, headers=headers
    ) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                said += json.loads(line[6:])["choices"][0]["delta"].get("content", "")
    assert said == expected


def llm(uri: str, folder: Path, *arguments: str, model: str = NAME) -> str:
    """The output of simonw's llm, configured for the server as its documentation says."""
    pytest.importorskip("llm", reason="the package llm is not installed")
    folder.mkdir(exist_ok=True)
    (folder / "extra-openai-models.yaml").write_text(
        f"- model_id: served\n  model_name: {model}\n  api_base: {uri}/v1\n  api_key_name: served\n"
    )
    (folder / "keys.json").write_text(json.dumps({"served": KEY}))
    command = [
        sys.executable,
        "-m",
        "llm",
        "-m",
        "served",
        "--no-log",
        "-o",
        "temperature",
        "0",
    ]
    environment = {**os.environ, "LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.removesuffix("\n")


@pytest.mark.parametrize("form", [[], ["--no-stream"]], ids=["stream", "whole"])
def test_llm_is_answered(keyed: Served, expected: str, tmp_path: Path, form: list[str]) -> None:
    assert llm(keyed.uri, tmp_path / "llm", *form, "-o", "max_tokens", "16", QUESTION) == expected


def curl(*arguments: str) -> str:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    done = subprocess.run([program, "-sSN", "--max-time", "60", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def test_curl_needs_no_content_type(keyed: Served, expected: str) -> None:
    body = {
        "model": NAME,
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 16,
    }
    key = ["-H", f"authorization: Bearer {KEY}"]
    whole = json.loads(curl(*key, "-d", json.dumps(body), f"{keyed.uri}/v1/chat/completions"))
    assert whole["choices"][0]["message"]["content"] == expected
    lines = curl(
        *key, "-d", json.dumps({**body, "stream": True}), f"{keyed.uri}/v1/chat/completions"
    ).splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == expected


def test_curl_gets_413_before_it_sends_a_hundred_megabytes(keyed: Served, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(100_000_000)
    key = f"authorization: Bearer {KEY}"
    written = curl("-o", str(tmp_path / "answer"), "-w", "%{http_code} %{size_upload}", "-H", key,
                   "-T", str(tmp_path / "large"), "-X", "POST", f"{keyed.uri}/v1/chat/completions")  # fmt: skip
    status, sent = written.split()
    assert (status, int(sent) < 100_000_000) == ("413", True)


@pytest.fixture(scope="module", params=["gguf", "folder"])
def smol(request: pytest.FixtureRequest, real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2 as a GGUF file, and as the folder converted from it."""
    if request.param == "gguf":
        return real_model
    folder = tmp_path_factory.mktemp("smol") / "folder"
    command = [
        sys.executable,
        "-m",
        "llorch.commands.convert",
        str(real_model),
        "-o",
        str(folder),
        "--verify",
        "none",
    ]
    registry = folder.with_name("registry.db")
    subprocess.run([*command, "--registry", str(registry)], check=True, capture_output=True)
    return folder


def generated(model: Path, question: str) -> str:
    """The output of `llorch run generate --chat`, in a process of its own."""
    command = [sys.executable, "-m", "llorch.commands.run", "generate", str(model), "--chat", "-p", question]
    done = subprocess.run(
        [*command, "-n", "24", "--device", "cpu", "--json"], check=True, capture_output=True
    )
    said: str = json.loads(done.stdout)["text"]
    return said


@pytest.fixture
def smol_served(smol: Path, start: Start) -> Served:
    return start(lambda: runtime.load(smol), keys=Keys([KEY]), hosts=None)


@pytest.mark.slow
def test_smollm2_says_to_every_client_what_generate_says(
    smol: Path, smol_served: Served, tmp_path: Path
) -> None:
    question = "Explain gravity in one sentence."
    expected = generated(smol, question)
    client = openai_client(smol_served.uri)
    messages = [{"role": "user", "content": question}]
    fields: dict[str, Any] = {"model": NAME, "messages": messages, "temperature": 0, "max_tokens": 24}
    assert client.chat.completions.create(**fields).choices[0].message.content == expected
    pieces = client.chat.completions.create(**fields, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in pieces) == expected
    assert llm(smol_served.uri, tmp_path / "llm", "-o", "max_tokens", "24", question) == expected
    key = ["-H", f"authorization: Bearer {KEY}"]
    answer = json.loads(curl(*key, "-d", json.dumps(fields), f"{smol_served.uri}/v1/chat/completions"))
    assert answer["choices"][0]["message"]["content"] == expected
