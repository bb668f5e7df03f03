"""OpenAI's endpoints: every field has its effect, and unsupported ones are rejected by name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from llorch.runtime import Model, Sampling
from llorch.runtime.text.prompt import encode_rendered
from tests.runtime.serving.conftest import NAME, Served


def text_of(document: dict[str, Any], index: int = 0) -> str:
    choice = document["choices"][index]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def events(served: Served, path: str, **body: object) -> list[Any]:
    """The documents of a stream, which must end with the final marker."""
    with served.client.stream(
        "POST", path, json={"model": NAME, "stream": True, "temperature": 0, **body}
    ) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def chat_ids(model: Model, content: str) -> list[int]:
    return encode_rendered(model.tokenizer, f"[user]{content}[assistant]")


def test_a_chat_is_the_runtimes_generation_for_the_rendered_template(served: Served, alone: Model) -> None:
    document: Any = served.chat("hello", max_tokens=12)
    said = alone.generate(chat_ids(alone, "hello"), max_new_tokens=12)
    assert text_of(document) == said.text
    choice = document["choices"][0]
    assert (choice["index"], choice["finish_reason"], choice["logprobs"]) == (0, "length", None)
    assert choice["message"]["role"] == "assistant"
    prompt = len(chat_ids(alone, "hello"))
    assert document["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": 12,
        "total_tokens": prompt + 12,
    }
    assert (document["object"], document["model"]) == ("chat.completion", NAME)
    assert document["id"].startswith("chatcmpl-")


def test_a_completion_is_the_runtimes_generation_for_the_prompt(served: Served, alone: Model) -> None:
    document: Any = served.complete("hello world", max_tokens=9)
    assert text_of(document) == alone.generate("hello world", max_new_tokens=9).text
    assert (document["object"], document["choices"][0]["finish_reason"]) == ("text_completion", "length")


def test_a_completion_has_sixteen_tokens_by_default_as_in_openai(served: Served) -> None:
    document: Any = served.complete("hello")
    assert document["usage"]["completion_tokens"] == 16


def test_a_chat_may_fill_the_context_by_default(served: Served, alone: Model) -> None:
    document: Any = served.chat("hello " * 300, temperature=0)
    prompt = document["usage"]["prompt_tokens"]
    ended = document["choices"][0]["finish_reason"]
    assert ended == "stop" or document["usage"]["total_tokens"] == alone.n_ctx
    assert prompt == len(chat_ids(alone, "hello " * 300))


def test_prompts_may_be_several_and_may_be_ids(served: Served, alone: Model) -> None:
    ids = alone.tokenizer.encode("hello").ids
    documents: list[Any] = [
        served.complete(prompt, max_tokens=6) for prompt in ("hello", ids, [ids], ["hello"])
    ]
    assert len({text_of(document) for document in documents}) == 1
    both: Any = served.complete(["hello", "world"], max_tokens=6)
    assert [text_of(both, 0), text_of(both, 1)] == [
        alone.generate(prompt, max_new_tokens=6).text for prompt in ("hello", "world")
    ]
    world = alone.tokenizer.encode("world").ids
    assert both["usage"]["prompt_tokens"] == len(ids) + len(world)


def test_max_completion_tokens_overrides_max_tokens(served: Served) -> None:
    document: Any = served.chat(max_tokens=3, max_completion_tokens=7)
    assert document["usage"]["completion_tokens"] == 7


def test_a_temperature_samples_and_a_seed_repeats_it(served: Served, alone: Model) -> None:
    def drawn(**fields: object) -> str:
        return text_of(served.complete("hello", max_tokens=12, **fields))

    assert drawn(temperature=1.5, seed=3) == drawn(temperature=1.5, seed=3)
    expected = alone.generate("hello", max_new_tokens=12, sampling=Sampling(temperature=1.5, seed=3)).text
    assert drawn(temperature=1.5, seed=3) == expected
    assert len({drawn(temperature=1.5, seed=seed) for seed in range(4)}) > 1
    assert drawn(temperature=0, seed=1) == drawn(temperature=0, seed=2)


def test_the_default_temperature_is_one_and_the_default_seed_random(served: Served) -> None:
    body = {"model": NAME, "prompt": "hello", "max_tokens": 24}
    texts = {served.client.post("/v1/completions", json=body).json()["choices"][0]["text"] for _ in range(4)}
    assert len(texts) > 1
    seeded = [
        served.client.post("/v1/completions", json={**body, "seed": 5, **more}).json()
        for more in ({}, {"temperature": 1})
    ]
    assert text_of(seeded[0]) == text_of(seeded[1])


@pytest.mark.parametrize("narrow", [{"top_p": 0}, {"top_p": 1e-9}, {"top_k": 1}, {"min_p": 1}])
def test_a_filter_that_leaves_one_token_makes_it_greedy(served: Served, narrow: dict[str, float]) -> None:
    greedy = text_of(served.complete("hello", max_tokens=12))
    hot = {"temperature": 1.5, "seed": 3, "max_tokens": 12}
    assert text_of(served.complete("hello", **hot)) != greedy
    assert text_of(served.complete("hello", **hot, **narrow)) == greedy


@pytest.mark.parametrize(
    "penalty",
    [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 2}],
    ids=lambda p: next(iter(p)),
)
def test_a_penalty_reaches_the_sampling(served: Served, alone: Model, penalty: dict[str, float]) -> None:
    document = served.complete("hello", max_tokens=40, **penalty)
    expected = alone.generate("hello", max_new_tokens=40, sampling=Sampling(**penalty)).text  # type: ignore[arg-type]
    assert text_of(document) == expected != alone.generate("hello", max_new_tokens=40).text


def test_a_stop_string_ends_it_and_is_left_out(served: Served, alone: Model) -> None:
    whole = alone.generate("hello", max_new_tokens=30).text
    stop = whole[5:7]
    for given in (stop, [stop], ["\x00", stop]):
        document: Any = served.complete("hello", max_tokens=30, stop=given)
        assert (text_of(document), document["choices"][0]["finish_reason"]) == (
            whole[: whole.index(stop)],
            "stop",
        )


def test_an_end_token_ends_it(served: Served, alone: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    free = alone.generate("hello", max_new_tokens=8)
    monkeypatch.setattr(Model, "end_ids", (free.ids[3],))
    document: Any = served.complete("hello", max_tokens=8)
    first = free.ids.index(free.ids[3])
    assert document["choices"][0]["finish_reason"] == "stop"
    assert document["usage"]["completion_tokens"] == first


def test_several_answers_differ_by_their_seeds_and_the_first_equals_a_single_one(served: Served) -> None:
    hot: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 12}
    one: Any = served.chat(**hot)
    many: Any = served.chat(**hot, n=3)
    again: Any = served.chat(**hot, n=3)
    texts = [text_of(many, index) for index in range(3)]
    assert texts[0] == text_of(one)
    assert len(set(texts)) == 3
    assert texts == [text_of(again, index) for index in range(3)]
    assert [choice["index"] for choice in many["choices"]] == [0, 1, 2]
    assert many["usage"]["completion_tokens"] == 36
    assert many["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"]


def test_a_stream_is_the_answer_in_pieces(served: Served) -> None:
    whole: Any = served.chat("hello", max_tokens=12)
    chunks = events(
        served, "/v1/chat/completions", messages=[{"role": "user", "content": "hello"}], max_tokens=12
    )
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == text_of(whole)
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] == "length"
    assert set(reasons[:-1]) == {None}
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert len(chunks) > 6
    assert all("usage" not in chunk for chunk in chunks)


def test_a_stream_of_a_completion_is_the_answer_in_pieces(served: Served) -> None:
    whole: Any = served.complete("hello", max_tokens=12)
    chunks = events(served, "/v1/completions", prompt="hello", max_tokens=12)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text_of(whole)
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


def test_a_stream_ends_with_token_counts_if_asked_for(served: Served) -> None:
    whole: Any = served.chat("hello", max_tokens=5)
    messages = [{"role": "user", "content": "hello"}]
    chunks = events(
        served,
        "/v1/chat/completions",
        messages=messages,
        max_tokens=5,
        stream_options={"include_usage": True},
    )
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == whole["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_a_stream_of_several_answers_gives_each_its_index(served: Served) -> None:
    hot: dict[str, Any] = {"temperature": 1.5, "seed": 3, "max_tokens": 8, "n": 2}
    whole: Any = served.chat(**hot)
    chunks = events(served, "/v1/chat/completions", messages=[{"role": "user", "content": "hello"}], **hot)
    for index in range(2):
        pieces = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert "".join(piece["delta"].get("content", "") for piece in pieces) == text_of(whole, index)
        assert [piece["finish_reason"] for piece in pieces if piece["finish_reason"]] == ["length"]


def log_softmax(model: Model, ids: list[int]) -> list[list[float]]:
    logits = model.logits(ids).double()
    rows: list[list[float]] = logits.log_softmax(-1).tolist()
    return rows


def test_log_probabilities_are_those_of_the_models_logits(served: Served, alone: Model) -> None:
    document: Any = served.chat("hello", max_tokens=6, logprobs=True, top_logprobs=3)
    content = document["choices"][0]["logprobs"]["content"]
    prompt = chat_ids(alone, "hello")
    made = list(alone.generate(prompt, max_new_tokens=6).ids)
    rows = log_softmax(alone, prompt + made)[len(prompt) - 1 : -1]
    assert len(content) == 6
    for entry, row, token in zip(content, rows, made, strict=True):
        assert math.isclose(entry["logprob"], row[token], abs_tol=1e-5)
        best = sorted(row, reverse=True)[:3]
        assert [other["logprob"] for other in entry["top_logprobs"]] == pytest.approx(best, abs=1e-5)
        assert bytes(entry["bytes"]).decode(errors="replace") == alone.tokenizer.decode(
            [token], skip_special_tokens=False
        )


def test_log_probabilities_of_a_completion_say_where_each_token_is(served: Served) -> None:
    document: Any = served.complete("hello", max_tokens=6, logprobs=2)
    logprobs = document["choices"][0]["logprobs"]
    assert [len(logprobs[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")] == [
        6
    ] * 4
    text = text_of(document)
    offsets, tokens = logprobs["text_offset"], logprobs["tokens"]
    assert offsets == sorted(offsets)
    whole = [i for i in range(1, 6) if "\ufffd" not in tokens[i - 1] + tokens[i]]
    assert whole
    assert all(text[offsets[i] :].startswith(tokens[i]) for i in whole)
    assert all(len(top) in (1, 2) for top in logprobs["top_logprobs"])
    assert served.complete("hello", max_tokens=6)["choices"][0]["logprobs"] is None  # type: ignore[index]


def test_the_log_probabilities_of_a_stream_are_those_of_the_whole(served: Served) -> None:
    whole: Any = served.chat("hello", max_tokens=8, logprobs=True)
    chunks = events(
        served,
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "hello"}],
        max_tokens=8,
        logprobs=True,
    )
    streamed = [
        one for chunk in chunks for one in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert streamed == whole["choices"][0]["logprobs"]["content"]


def test_tools_reach_the_template_unless_tool_choice_is_none(served: Served, alone: Model) -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    bare, told = served.chat("hi", max_tokens=8), served.chat("hi", max_tokens=8, tools=tools)
    assert told["usage"]["prompt_tokens"] > bare["usage"]["prompt_tokens"]  # type: ignore[index]
    rendered = f"[user]hi<tools>{json.dumps(tools)}</tools>[assistant]"
    assert text_of(told) == alone.generate(encode_rendered(alone.tokenizer, rendered), max_new_tokens=8).text
    silent = served.chat("hi", max_tokens=8, tools=tools, tool_choice="none")
    assert text_of(silent) == text_of(bare)


def test_content_may_come_in_parts(served: Served) -> None:
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": "world"}]
    assert text_of(served.chat(parts, max_tokens=6)) == text_of(served.chat("hello\nworld", max_tokens=6))  # type: ignore[arg-type]


REFUSED: list[tuple[dict[str, object], int, str | None, str | None]] = [
    ({"messages": []}, 400, "messages", None),
    ({"messages": "hello"}, 400, "messages", None),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, None, None),
    ({"model": "other"}, 404, "model", "model_not_found"),
    ({"temperature": 2.1}, 400, "temperature", None),
    ({"temperature": "warm"}, 400, "temperature", None),
    ({"temperature": -0.1}, 400, "temperature", None),
    ({"top_p": 1.1}, 400, "top_p", None),
    ({"n": 0}, 400, "n", None),
    ({"n": 1000}, 400, "n", None),
    ({"max_tokens": 0}, 400, "max_tokens", None),
    ({"max_tokens": 1.5}, 400, "max_tokens", None),
    ({"max_tokens": 10**6}, 400, "messages", "context_length_exceeded"),
    ({"presence_penalty": 3}, 400, "presence_penalty", None),
    ({"frequency_penalty": -3}, 400, "frequency_penalty", None),
    ({"stop": ["a"] * 5}, 400, None, None),
    ({"stop": ""}, 400, None, None),
    ({"top_logprobs": 2}, 400, "top_logprobs", None),
    ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs", None),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", None),
    ({"logit_bias": {"5": 100}}, 400, "logit_bias", "unsupported_parameter"),
    ({"functions": [{"name": "f"}]}, 400, "functions", "unsupported_parameter"),
    ({"reasoning_effort": "high"}, 400, "reasoning_effort", "unsupported_parameter"),
    ({"tool_choice": "required"}, 400, "tool_choice", "unsupported_parameter"),
    ({"warmth": 0.5}, 400, "warmth", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "status", "param", "code"), REFUSED, ids=lambda value: str(value)[:40])
def test_unsupported_fields_are_refused_in_openais_form(
    served: Served, fields: dict[str, object], status: int, param: str | None, code: str | None
) -> None:
    body = {"model": NAME, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2, **fields}
    answer = served.client.post("/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
    assert param is None or error["param"] == param
    assert code is None or error["code"] == code
    assert served.server.service.running == 0


@pytest.mark.parametrize(
    "fields", [{"best_of": 2}, {"echo": True}, {"suffix": "x"}, {"logit_bias": {"1": 1}}], ids=str
)
def test_fields_that_completions_do_not_support_are_refused(
    served: Served, fields: dict[str, object]
) -> None:
    answer = served.post("/v1/completions", model=NAME, prompt="hello", **fields)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, next(iter(fields)))


@pytest.mark.parametrize("prompt", ["", [], [[]], [384], [-1], [True], [1.5], {"a": 1}, None], ids=str)
def test_an_invalid_prompt_is_refused(served: Served, prompt: object) -> None:
    answer = served.post("/v1/completions", model=NAME, prompt=prompt, max_tokens=1)
    assert answer.status_code == 400, answer.text


def test_fields_that_change_no_answer_are_ignored_and_so_are_neutral_values(served: Served) -> None:
    plain = served.chat("hello", max_tokens=5)
    ignored = {
        "user": "u",
        "metadata": {"a": "b"},
        "store": False,
        "service_tier": "auto",
        "parallel_tool_calls": True,
    }
    neutral = {
        "logit_bias": {},
        "functions": None,
        "modalities": ["text"],
        "response_format": {"type": "text"},
        "n": 1,
    }
    assert text_of(served.chat("hello", max_tokens=5, **ignored, **neutral)) == text_of(plain)


def test_models_have_the_files_digest(served: Served) -> None:
    listed = served.client.get("/v1/models").json()
    assert listed["object"] == "list"
    (model,) = listed["data"]
    assert (model["id"], model["object"], model["owned_by"]) == (NAME, "model", "llorch")
    assert model["digest"] == "sha256:" + "a" * 64
    assert "verification" in model
    assert served.client.get(f"/v1/models/{NAME}").json() == model
    missing = served.client.get("/v1/models/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
